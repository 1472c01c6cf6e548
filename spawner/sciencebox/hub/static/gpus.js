/* The GPUs page while it is open. */
import { follow } from './refresh.js';
import { tellTimes } from './times.js';

const place = document.getElementById('gpus');
const freshness = document.getElementById('freshness');
const usual = freshness.textContent;
let loads = {};

function showCards(html) {
  const at = document.activeElement?.closest('[data-uuid]')?.dataset.uuid;
  place.innerHTML = html;  // rendered and escaped by the hub
  tellTimes(place);
  showLoads();
  if (at) {  // whoever is at a button stays there
    place.querySelector(`[data-uuid="${CSS.escape(at)}"] button`)?.focus();
  }
}

const gib = bytes => `${Math.round((bytes / 2 ** 30) * 10) / 10}`;
const percent = share => `${Math.round(100 * share)} %`;

/** What the devices do. What the driver does not tell is not shown. */
function showLoads() {
  for (const card of place.querySelectorAll('[data-uuid]')) {
    const load = loads[card.dataset.uuid];
    const part = name => card.querySelector(`[data-part="${name}"]`);
    if (!load) {
      continue;
    }
    if (load.memory) {
      const known = load.memory_used !== null;
      part('memory-bar').style.width = `${(100 * load.memory_used) / load.memory}%`;
      part('memory-bar').parentElement.hidden = !known;
      part('memory').textContent = `${known ? `${gib(load.memory_used)} of ` : ''}${gib(load.memory)} GiB`;
    }
    show(part('utilisation'), load.utilisation === null ? '' : percent(load.utilisation));
    card.querySelector('polyline').setAttribute('points', line(load.history));
    const heat = [load.temperature !== null && `${load.temperature} °C`, load.power !== null && `${load.power} W`];
    show(part('heat'), heat.filter(Boolean).join(', '));
  }
}

/** A value with its name, or neither. */
function show(value, text) {
  const definition = value.closest('dd');
  value.textContent = text;
  definition.hidden = definition.previousElementSibling.hidden = !text;
}

/** The last ten minutes as points of a line, the newest at the right. */
function line(history) {
  const first = 40 - history.length;
  return history
    .map((share, n) => (share === null ? null : `${((first + n) / 39) * 100},${23 - 22 * share}`))
    .filter(Boolean)
    .join(' ');
}

/** An administrator takes a card out of service or puts it into quarantine, or takes that back. */
async function change(button) {
  const [method, what] = button.dataset.do.split(' ');
  const { uuid } = button.closest('[data-uuid]').dataset;
  const reason = method === 'PUT' && prompt('Why? Whoever looks at this page reads it. A session on this GPU goes on; nobody else gets it.');
  if (method === 'PUT' && !reason?.trim()) {
    return;
  }
  button.disabled = true;
  const response = await fetch(`${location.pathname}/${encodeURIComponent(uuid)}/${what}`, {
    method,
    headers: { 'X-XSRFToken': window.jhdata.xsrf_token, 'Content-Type': 'application/json' },
    body: reason ? JSON.stringify({ reason }) : undefined,
  }).catch(() => null);
  button.disabled = false;
  const said = response?.ok ? usual : (await response?.json().catch(() => null))?.message;
  freshness.textContent = said ?? 'It could not be done; try again, or look into the log of the hub.';
}

place.addEventListener('click', ({ target }) => {
  const button = target.closest('[data-do]');
  if (button) {
    change(button);
  }
});
tellTimes(place);
follow(
  place.dataset.events,
  {
    cards: showCards,
    loads: json => {
      loads = JSON.parse(json);
      showLoads();
    },
  },
  trouble => {
    freshness.textContent = trouble || usual;
  }
);
