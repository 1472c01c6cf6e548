/* The page of one's own session: how long it may run, stopping it, and letting it run longer. */
import { found, keepLooking } from './refresh.js';
import { clock, tellTimes } from './times.js';

const LOOK_EVERY_MS = 30000;
const [WARN_S, LAST_S] = [600, 60];

tellTimes(document);
const stop = document.getElementById('stop');
const said = document.getElementById('stop-said');

/** Do it and load the page again, or say why not. Where the answer was lost, the page itself tells what came of it. */
async function act(button, method, url, sorry) {
  button.disabled = true;
  const headers = { 'X-XSRFToken': window.jhdata.xsrf_token };
  const response = await fetch(url, { method, headers }).catch(() => fetch(location.href)).catch(() => null);
  if (response?.ok) {
    location.reload();
  } else {
    button.disabled = false;
    said.textContent = await sorry(response);
  }
}

stop?.addEventListener('click', () => {
  said.textContent = 'Stopping …';
  act(stop, 'DELETE', stop.dataset.stop, () => 'It could not be stopped; try again in a few seconds.');
});

/** A sentence at its place; none takes the place away. What stands there already is not said again. */
function say(id, text) {
  const place = document.getElementById(id);
  place.hidden = !text;
  if (place.textContent !== text) {
    place.textContent = text;
  }
}

const inSeconds = left => clock(Date.now() / 1000 + left);

/** Until when it may run and whether longer, and what is wrong with its GPUs; JupyterLab says the same. */
function tell({ seconds_left: left, idle_seconds_left: idle, more_seconds: more, faults }) {
  const until = document.getElementById('until');
  if (until && left !== null) {
    until.textContent = `until ${inSeconds(left)}`;
  }
  const soon = left !== null && left <= WARN_S;
  const when = left > LAST_S ? `at ${inSeconds(left)}` : 'in less than a minute';
  say('ends', soon ? `Its time is over ${when}. Save your work and stop your kernels: then it is stopped. Your files stay.` : '');
  say('idle', idle === null ? '' : 'Its GPU has computed nothing for a long time. Unless it does, the session is stopped at '
    + `${inSeconds(idle)}, so that others can have it.`);
  say('faults', faults.join('\n'));
  const minutes = Math.round(more / 60);
  extend.hidden = !minutes;
  extend.textContent = `Let it run ${minutes >= 120 ? `${Math.round(minutes / 60)} hours` : `${minutes} minutes`} longer`;
}

async function look() {
  const session = await found(extend.dataset.session);
  if (session) {
    tell(session);
  } else {
    location.reload();  // it runs no more, and the page says why
  }
}

const extend = document.getElementById('extend');
extend?.addEventListener('click', () => act(extend, 'POST', extend.dataset.session, async response =>
  (await response?.json().catch(() => null))?.message ?? 'It could not be done; try again in a few seconds.'));
if (stop?.dataset.pending) {
  setTimeout(() => location.reload(), 3000);  // it is soon something else
} else if (extend) {
  look().catch(() => null);
  keepLooking(look, trouble => say('freshness', trouble), LOOK_EVERY_MS);
}
