/* The page of one's own session: how long it may run, and stopping it. */
import { tellTimes } from './times.js';

tellTimes(document);
const stop = document.getElementById('stop');
const said = document.getElementById('stop-said');

stop?.addEventListener('click', async () => {
  stop.disabled = true;
  said.textContent = 'Stopping …';
  const headers = { 'X-XSRFToken': window.jhdata.xsrf_token };
  const response = await fetch(stop.dataset.stop, { method: 'DELETE', headers }).catch(() => null);
  if (response?.ok) {
    location.reload();
  } else {
    stop.disabled = false;
    said.textContent = 'It could not be stopped; try again in a few seconds.';
  }
});

// A session that is being started or stopped is soon something else.
if (stop?.dataset.pending) {
  setTimeout(() => location.reload(), 3000);
}
