/* The GPUs page while it is open. */
import { answer, keepLooking } from './refresh.js';
import { tellTimes } from './times.js';

const place = document.getElementById('gpus');
const freshness = document.getElementById('freshness');
const usual = freshness.textContent;

async function look() {
  const table = await (await answer('?part=table')).text();
  if (table !== place.dataset.table) {
    place.dataset.table = table;
    place.innerHTML = table;  // rendered and escaped by the hub
    tellTimes(place);
  }
}

/** An administrator takes a card out of service, or puts it back. */
async function change(button) {
  const { drain, undrain } = button.dataset;
  const reason = drain && prompt('Why? Whoever looks at this page reads it. A session on this GPU goes on; nobody else gets it.');
  if (drain && !reason?.trim()) {
    return;
  }
  button.disabled = true;
  const response = await fetch(`${location.pathname}/${encodeURIComponent(drain ?? undrain)}/drain`, {
    method: drain ? 'PUT' : 'DELETE',
    headers: { 'X-XSRFToken': window.jhdata.xsrf_token, 'Content-Type': 'application/json' },
    body: drain ? JSON.stringify({ reason }) : undefined,
  }).catch(() => null);
  button.disabled = false;
  freshness.textContent = response?.ok ? usual : 'It could not be done; try again, or look into the log of the hub.';
  await look().catch(() => null);
}

place.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-drain], [data-undrain]');
  if (button) {
    change(button);
  }
});
tellTimes(place);
keepLooking(
  look,
  trouble => {
    freshness.textContent = trouble || usual;
  }
);
