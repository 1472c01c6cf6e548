/* The steps of a session's start, as the hub tells them. */
const page = document.getElementById('pending');
const steps = [...page.querySelectorAll('[data-step]')];
const message = document.getElementById('pending-message');

function at(name) {
  const now = steps.findIndex(step => step.dataset.step === name);
  if (now < 0) {
    return;
  }
  steps.forEach((step, place) => {
    step.classList.toggle('done', place < now || name === 'ready');
    step.classList.toggle('current', place === now && name !== 'ready');
    step.toggleAttribute('aria-current', place === now);
  });
}

/** Say it; where the list of steps shows the same, only to those who listen. */
function tell(text) {
  message.textContent = text;
  message.classList.toggle('visually-hidden', steps.some(step => step.textContent.trim() === text));
}

function failed(reason) {
  steps.find(step => step.classList.contains('current'))?.classList.add('failed');
  document.getElementById('pending-title').textContent = 'Your session was not started';
  const box = document.getElementById('pending-failed');
  box.querySelector('[data-part="reason"]').textContent = reason;
  box.hidden = false;
  box.querySelector('a').focus();
  tell('');
  document.getElementById('cancel').hidden = true;
}

document.getElementById('cancel').hidden = false;
at('checking');
const events = new EventSource(page.dataset.progress);
events.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.failed) {
    events.close();
    failed(event.message);
  } else if (event.ready) {
    events.close();
    at('ready');
    location.reload();  // the hub leads on to the session
  } else {
    at(event.step);
    tell(event.message ?? '');
  }
};

// The browser tries again by itself after a lost connection. It gives up when the hub says no: then the start is over,
// and the page's address leads on to what came of it.
events.onerror = () => {
  tell('The connection was lost; trying again …');
  if (events.readyState === EventSource.CLOSED) {
    setTimeout(() => location.reload(), 3000);
  }
};

document.getElementById('cancel').addEventListener('click', async ({ target }) => {
  target.disabled = true;
  tell('Cancelling …');
  const headers = { 'X-XSRFToken': window.jhdata.xsrf_token };
  const response = await fetch(page.dataset.stop, { method: 'DELETE', headers });
  if (response.ok) {
    location.assign(page.dataset.form);
  } else {
    target.disabled = false;
    tell('It cannot be cancelled at this moment; try again in a few seconds.');
  }
});
