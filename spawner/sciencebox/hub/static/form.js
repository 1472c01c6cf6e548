/* The open spawn form: numbers of now, a count that fits the choice, and a link to what is chosen. */
import { found, keepLooking } from './refresh.js';

const hub = window.jhdata.base_url;
const form = document.getElementById('spawn_form');
const part = (name, within = form) => within.querySelector(`[data-part="${name}"]`);
const chosen = () => form.querySelector('input[name="gpu"]:checked');

/** How many may be asked for depends on the choice; without a GPU there is nothing to count. */
function fitCount() {
  const memory = document.getElementById('gpu-memory-row');
  if (memory) {
    memory.hidden = chosen()?.value !== 'any';
  }
  const count = document.getElementById('gpu_count');
  const most = Number(chosen()?.dataset.most ?? 0);
  if (!count) {
    return;
  }
  document.getElementById('gpu-count-row').hidden = most === 0;
  count.disabled = most === 0;
  count.max = String(Math.max(1, most));
  part('most').textContent = count.max;
  if (Number(count.value) > Math.max(1, most)) {
    count.value = count.max;
  }
}

function show(facts) {
  const news = [];
  for (const gpu of facts.gpus) {
    const row = [...form.querySelectorAll('[data-gpu]')].find(one => one.dataset.gpu === gpu.gpu);
    if (!row) {
      continue;
    }
    const numbers = part('numbers', row);
    if (numbers.textContent !== gpu.numbers) {
      news.push(`${gpu.title}: ${gpu.numbers}`);
    }
    numbers.textContent = gpu.numbers;
    numbers.classList.toggle('sb-free', gpu.free > 0);
    numbers.classList.toggle('sb-busy', gpu.free === 0);
    part('in-use', row).textContent = gpu.in_use && ` · ${gpu.in_use}`;
    row.querySelector('input').dataset.most = gpu.most;
  }
  part('reason').textContent = facts.reason;
  document.getElementById('gpu-reason').hidden = !facts.reason;
  if (news.length) {
    part('news').textContent = news.join('; ');
  }
  fitCount();
}

/** A link that opens this form with what is chosen now. */
function link() {
  const fields = [...new FormData(form)].filter(([name]) => name !== '_xsrf');
  const query = new URLSearchParams(fields);
  if (query.get('gpu') === 'none') {
    query.delete('gpu_count');
  }
  if (query.get('gpu') !== 'any' || query.get('gpu_memory') === 'any') {
    query.delete('gpu_memory');
  }
  return `${location.origin}${hub}spawn?${query}`;
}

async function copyLink() {
  const copied = document.getElementById('copied');
  try {
    await navigator.clipboard.writeText(link());
    copied.textContent = 'Copied. Whoever opens it sees this form filled in so.';
  } catch {
    copied.textContent = link();  // a browser that keeps the clipboard to itself: to be copied by hand
  }
}

form.addEventListener('change', fitCount);
form.addEventListener('submit', () => {
  const start = document.getElementById('start');
  // After the form was sent, for a disabled button may keep it from being sent.
  setTimeout(() => {
    start.disabled = true;
    start.textContent = 'Starting …';
  });
});
// A page that comes back from the browser's history is to be usable again.
window.addEventListener('pageshow', () => {
  document.getElementById('start').disabled = false;
  document.getElementById('start').textContent = 'Start';
});
document.getElementById('copy-link').addEventListener('click', copyLink);
fitCount();

if (form.querySelector('[data-gpu]')) {
  keepLooking(
    async () => show(await found(`${hub}sciencebox/numbers`)),
    trouble => {
      const freshness = document.getElementById('freshness');
      freshness.textContent = trouble;
      freshness.hidden = !trouble;
    }
  );
}
