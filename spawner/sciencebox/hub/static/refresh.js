/* Keeping a page up to date while it is looked at, less eagerly while nothing answers. */

const EVERY_MS = 4000;
const LONGEST_MS = 60000;

const NO_ANSWER = 'The service does not answer at the moment.';
const OUT_OF_DATE = 'What is shown may be out of date.';
const TOO_OFTEN = 'This page is open too often; close it elsewhere.';
const SIGNED_OUT = 'You are signed out; reload the page to sign in again.';

class SignedOut extends Error {}

/** Call `look` at this pace while the page is visible. It throws when there is no answer; `onTrouble` says so. */
export function keepLooking(look, onTrouble, every = EVERY_MS) {
  let wait = every;
  let timer = null;

  async function again() {
    timer = null;
    try {
      await look();
      wait = every;
      onTrouble('');
    } catch (error) {
      wait = Math.min(2 * wait, LONGEST_MS);
      onTrouble(`${error instanceof SignedOut ? SIGNED_OUT : NO_ANSWER} ${OUT_OF_DATE}`);
    }
    plan();
  }

  function plan() {
    if (timer === null && !document.hidden) {
      timer = setTimeout(again, wait);
    }
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    timer = null;
    if (!document.hidden) {
      again();
    }
  });
  plan();
}

/** What a GET finds, as JSON; null where there is nothing. Throws for any other answer. */
export async function found(url) {
  const response = await fetch(url, { headers: { Accept: 'application/json, text/html' } });
  if (response.redirected || response.status === 403) {
    throw new SignedOut();
  }
  if (!response.ok && response.status !== 404) {
    throw new Error(`${response.status}`);
  }
  return response.ok ? response.json() : null;
}

/** Hear the server's events by name while the page is visible; `onTrouble` says when it does not answer. */
export function follow(url, listeners, onTrouble) {
  let events = null;
  let wait = EVERY_MS;

  function open() {
    events = new EventSource(url);
    for (const [name, listener] of Object.entries(listeners)) {
      events.addEventListener(name, ({ data }) => listener(data));
    }
    events.onopen = () => {
      wait = EVERY_MS;
      onTrouble('');
    };
    events.onerror = lost;
  }

  // The browser connects again by itself after a lost connection, but not after another answer than events.
  async function lost() {
    if (events.readyState !== EventSource.CLOSED) {
      setTimeout(() => events.readyState === EventSource.CONNECTING && onTrouble(`${NO_ANSWER} ${OUT_OF_DATE}`), wait);
      return;
    }
    const response = await fetch(url, { method: 'HEAD' }).catch(() => null);
    const why = { 403: SIGNED_OUT, 429: TOO_OFTEN }[response?.status] ?? NO_ANSWER;
    onTrouble(`${why} ${OUT_OF_DATE}`);
    wait = Math.min(2 * wait, LONGEST_MS);
    setTimeout(again, wait);
  }

  function again() {
    if (!document.hidden && (!events || events.readyState === EventSource.CLOSED)) {
      open();
    }
  }

  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      events?.close();
    } else {
      again();
    }
  });
  again();
}
