/* The steps of a session's start, as the hub tells them, and the place in the queue while it waits for a GPU. */
import { clock } from './times.js';

const page = document.getElementById('pending');
const steps = [...page.querySelectorAll('[data-step]')];
const message = document.getElementById('pending-message');
const title = document.getElementById('pending-title');
const queue = document.getElementById('queue');
const cancel = document.getElementById('cancel');
const withoutGpu = document.getElementById('without-gpu');
const usual = { title: title.textContent, page: document.title, cancel: cancel.textContent };
const ANSWER_EVERY_MS = 3000;
const FIRST_RETRY_MS = 300;

function at(name) {
  const now = steps.findIndex(step => step.dataset.step === name);
  if (now < 0) {
    return;
  }
  steps.forEach((step, place) => {
    step.classList.toggle('done', place < now || name === 'ready');
    step.classList.toggle('current', place === now && name !== 'ready');
    if (place === now) {
      step.setAttribute('aria-current', 'step');
    } else {
      step.removeAttribute('aria-current');
    }
  });
}

/** Say it; where the page shows the same, only to those who listen. */
function tell(text) {
  message.textContent = text;
  const shown = [...steps, queue.querySelector('[data-part="title"]')].some(one => one.textContent.trim() === text);
  message.classList.toggle('visually-hidden', shown);
}

function stand(place) {
  queue.hidden = !place;
  title.textContent = place ? 'Waiting for a GPU' : usual.title;
  document.title = place ? `${place.title} – ${usual.page}` : usual.page;
  cancel.textContent = place ? 'Leave the queue' : usual.cancel;
  if (!place) {
    return;
  }
  const show = (part, text) => {
    queue.querySelector(`[data-part="${part}"]`).textContent = text;
  };
  show('title', place.title);
  show('ahead', place.ahead);
  show('in-use', place.in_use);
  show('estimate', place.start === null ? '' : `Your turn comes by about ${clock(place.start)}`);
  show('basis', place.start === null ? place.basis : `${place.basis}.`);
}

function failed(reason) {
  steps.find(step => step.classList.contains('current'))?.classList.add('failed');
  stand(null);
  title.textContent = 'Your session was not started';
  document.title = `${title.textContent} – ${usual.page}`;
  const box = document.getElementById('pending-failed');
  box.querySelector('[data-part="reason"]').textContent = reason;
  box.hidden = false;
  box.querySelector('a').focus();
  tell('');
  cancel.hidden = true;
}

cancel.hidden = false;
at('checking');
let events = null;
let losses = 0;
let ending = false;

/** Follow the start. What the hub told already it tells again. */
function follow() {
  events = new EventSource(page.dataset.progress);
  events.onmessage = ({ data }) => hear(JSON.parse(data));
  events.onerror = lost;
}

function hear(event) {
  losses = 0;
  if (ending) {
    return;
  }
  if (event.failed) {
    events.close();
    failed(event.message);
  } else if (event.ready) {
    events.close();
    at('ready');
    location.reload();  // the hub leads on to the session
  } else {
    at(event.step);
    stand(event.queue ?? null);
    tell(event.message ?? '');
  }
}

// A connection that was lost is made again, the first time at once and without a word. Another answer than events says
// that the start is over, or the hub is being restarted: the page's address leads on to what came of it once it answers.
function lost() {
  const refused = events.readyState === EventSource.CLOSED;
  events.close();
  losses += 1;
  if (ending) {
    return;  // the start that is followed here is being ended: what comes next is up to the button
  }
  const quietly = !refused && losses === 1;
  if (!quietly) {
    tell('The connection was lost; trying again …');
  }
  setTimeout(refused ? reloadWhenItAnswers : follow, quietly ? FIRST_RETRY_MS : ANSWER_EVERY_MS);
}

follow();

async function reloadWhenItAnswers() {
  // Where the hub leads on to is for a page to open, not for a script to fetch; a redirect has no status here.
  const response = await fetch(location.href, { redirect: 'manual' }).catch(() => null);
  if (ending) {
    return;
  }
  if (response && response.status < 500) {
    location.reload();
  } else {
    tell('The service does not answer at the moment; trying again. Your place in the queue is kept.');
    setTimeout(reloadWhenItAnswers, ANSWER_EVERY_MS);
  }
}

const call = (method, body) => fetch(page.dataset.server, {
  method,
  body,
  headers: { 'X-XSRFToken': window.jhdata.xsrf_token, 'Content-Type': 'application/json' },
}).catch(() => null);

/** Until it has ended. Each request waits for that, as long as the hub lets it. */
async function cancelled() {
  let response = await call('DELETE');
  while (response?.status === 202) {
    tell('This takes longer than usual; the page goes on as soon as it is done.');
    await new Promise(resume => setTimeout(resume, ANSWER_EVERY_MS));
    response = await call('DELETE');
  }
  return response;
}

/** End this start, then go on; say so where that is not possible. */
async function end(button, says, goOn) {
  button.disabled = true;
  ending = true;
  tell(says);
  const response = await cancelled();
  if (response?.ok) {
    await goOn();
    return;
  }
  button.disabled = false;
  ending = false;
  if (response) {
    tell('It cannot be cancelled at this moment; try again in a few seconds.');
  }
  if (!response || events.readyState === EventSource.CLOSED) {
    reloadWhenItAnswers();  // whether it was ended before the connection was lost is for the hub to say
  }
}

cancel.addEventListener('click', () => end(cancel, 'Cancelling …', () => location.assign(page.dataset.form)));
withoutGpu.addEventListener('click', () => end(withoutGpu, 'Starting without a GPU …', async () => {
  const options = { ...JSON.parse(page.dataset.options), gpu: 'none', gpu_count: 0 };
  await call('POST', JSON.stringify({ user_options: options }));
  location.reload();
}));
