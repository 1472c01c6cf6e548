/* Asking again while a page is looked at, and less often while nothing answers. */

const EVERY_MS = 4000;
const LONGEST_MS = 60000;

const NO_ANSWER = 'The service does not answer at the moment.';
const SIGNED_OUT = 'You are signed out; reload the page to sign in again.';

class SignedOut extends Error {}

/** Call `look` every few seconds while the page is visible. It throws when there is no answer; `onTrouble` says so. */
export function keepLooking(look, onTrouble) {
  let wait = EVERY_MS;
  let timer = null;

  async function again() {
    timer = null;
    try {
      await look();
      wait = EVERY_MS;
      onTrouble('');
    } catch (error) {
      wait = Math.min(2 * wait, LONGEST_MS);
      onTrouble(`${error instanceof SignedOut ? SIGNED_OUT : NO_ANSWER} What is shown may be out of date.`);
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

/** The answer to a GET; throws when it is not a good one. */
export async function answer(url) {
  const response = await fetch(url, { headers: { Accept: 'application/json, text/html' } });
  if (response.redirected || response.status === 403) {
    throw new SignedOut();
  }
  if (!response.ok) {
    throw new Error(`${response.status}`);
  }
  return response;
}
