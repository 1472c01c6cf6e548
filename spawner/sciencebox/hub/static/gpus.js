/* The GPUs page while it is open. */
import { answer, keepLooking } from './refresh.js';
import { tellTimes } from './times.js';

const place = document.getElementById('gpus');
const freshness = document.getElementById('freshness');
const usual = freshness.textContent;

tellTimes(place);
keepLooking(
  async () => {
    const table = await (await answer('?part=table')).text();
    if (table !== place.dataset.table) {
      place.dataset.table = table;
      place.innerHTML = table;  // rendered and escaped by the hub
      tellTimes(place);
    }
  },
  trouble => {
    freshness.textContent = trouble || usual;
  }
);
