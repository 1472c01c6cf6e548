/* The page of one's own session: how long it may run, stopping it, and letting it run longer. */
import { tellTimes } from './times.js';

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

/** The button is there while the session may run longer, and says by how much. */
async function offerMore(button) {
  const answer = await fetch(button.dataset.session).catch(() => null);
  const minutes = answer?.ok ? Math.round((await answer.json()).more_seconds / 60) : 0;
  button.hidden = !minutes;
  button.textContent = `Let it run ${minutes >= 120 ? `${Math.round(minutes / 60)} hours` : `${minutes} minutes`} longer`;
}

const extend = document.getElementById('extend');
extend?.addEventListener('click', () => act(extend, 'POST', extend.dataset.session, async response =>
  (await response?.json().catch(() => null))?.message ?? 'It could not be done; try again in a few seconds.'));
if (extend) {
  offerMore(extend);
}

// A session that is being started or stopped is soon something else.
if (stop?.dataset.pending) {
  setTimeout(() => location.reload(), 3000);
}
