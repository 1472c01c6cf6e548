/* The GPUs page while it is open. */
import { answer, keepLooking } from './refresh.js';

const place = document.getElementById('gpus');
const freshness = document.getElementById('freshness');
const usual = freshness.textContent;

/** Since when a card is in use, in the reader's own time and words. */
function tellTimes() {
  for (const time of place.querySelectorAll('time[data-since]')) {
    const since = new Date(1000 * Number(time.dataset.since));
    time.dateTime = since.toISOString();
    const today = since.toDateString() === new Date().toDateString();
    time.textContent = `since ${today ? since.toLocaleTimeString([], { timeStyle: 'short' }) : since.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })}`;
  }
}

tellTimes();
keepLooking(
  async () => {
    const table = await (await answer('?part=table')).text();
    if (table !== place.dataset.table) {
      place.dataset.table = table;
      place.innerHTML = table;  // rendered and escaped by the hub
      tellTimes();
    }
  },
  trouble => {
    freshness.textContent = trouble || usual;
  }
);
