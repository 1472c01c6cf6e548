/* The welcome page. Everything that comes from the server or a notebook is set as text, never as HTML. */

/** An element with attributes and children; strings become text. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null));
  return node;
}

/** The moment in so many seconds: the time today, else with the day of the week, and with the date where that is not enough. */
export function clock(secondsLeft) {
  const moment = new Date(Date.now() + 1000 * secondsLeft);
  if (moment.toDateString() === new Date().toDateString()) {
    return moment.toLocaleTimeString([], { timeStyle: 'short' });
  }
  const inAWeek = secondsLeft < 6 * 86400;
  const day = inAWeek ? { weekday: 'short' } : { day: 'numeric', month: 'short' };
  return moment.toLocaleString([], { ...day, hour: 'numeric', minute: '2-digit' });
}

/** Fill `node` with the page. `server(path)` answers JSON, `open(name)` opens a copy of a bundled notebook. */
export async function render(node, server, open) {
  node.setAttribute('aria-busy', 'true');
  const [session, gallery, end] = await Promise.allSettled(['session', 'gallery', 'end'].map(path => server(path)));
  if (session.value && end.value) {
    session.value.seconds_left = end.value.seconds_left; // it may have been extended
  }
  node.replaceChildren(
    element(
      'div',
      { class: 'sb-Welcome-page' },
      element('h1', {}, 'Welcome to ScienceBox', session.value?.simulated ? simulated() : null),
      shown(session, sessionSection),
      shown(gallery, entries => gallerySection(entries, open))
    )
  );
  node.removeAttribute('aria-busy');
}

/** The part of the page for a request's outcome; a failed one is said, and does not take the rest with it. */
function shown(outcome, section) {
  return outcome.status === 'fulfilled' ? section(outcome.value) : notice(outcome.reason.message);
}

function notice(text) {
  return element('p', { class: 'sb-Welcome-notice', role: 'status' }, text);
}

function simulated() {
  return element('span', { class: 'sb-Welcome-badge' }, 'SIMULATED');
}

function section(heading, ...children) {
  return element('section', { 'aria-label': heading }, element('h2', {}, heading), ...children);
}

function sessionSection(session) {
  const rows = [
    ['GPU', session.gpus.length ? gpuList(session.gpus) : 'No GPU in this session'],
    ['Cores', session.cores === null ? 'unknown' : `${session.cores}`],
    ['Memory', session.memory_bytes === null ? 'unknown' : size(session.memory_bytes)],
    ['Software stack', session.release ?? 'none'],
    ...(session.seconds_left === null ? [] : [['Time', `until ${clock(session.seconds_left)}`]])
  ];
  return section(
    'This session',
    session.problem ? notice(session.problem) : null,
    session.simulated
      ? notice('The GPUs of this service are SIMULATED: they have a name and a memory size, and compute nothing.')
      : null,
    element(
      'dl',
      { class: 'sb-Welcome-facts' },
      ...rows.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value)))
    ),
    session.no_kernels ? notice(session.no_kernels) : null,
    session.script ? notice(session.script) : null
  );
}

function gpuList(gpus) {
  return element(
    'ul',
    {},
    ...gpus.map(gpu =>
      element('li', {}, gpu.model, gpu.simulated ? simulated() : null, element('span', { class: 'sb-Welcome-detail' }, detail(gpu)))
    )
  );
}

/** What is known of a card beside its model, such as "MIG 3g.20gb, 20 GiB". */
function detail({ mig_profile, memory_bytes }) {
  return [mig_profile && `MIG ${mig_profile}`, memory_bytes && size(memory_bytes)].filter(Boolean).join(', ');
}

/** Bytes in the largest unit that keeps a figure before the point. */
function size(bytes) {
  const gib = bytes / 2 ** 30;
  return gib >= 1 ? `${Math.round(gib * 10) / 10} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`;
}

function gallerySection(entries, open) {
  if (!entries.length) {
    return section('Example notebooks', element('p', {}, 'This image has no example notebooks.'));
  }
  return section(
    'Example notebooks',
    element(
      'p',
      {},
      'Opening one makes a copy in your folder ', element('code', {}, 'notebooks'),
      ', which is yours to change. The originals are in ', element('code', {}, 'examples'), ', read-only.'
    ),
    element('ul', { class: 'sb-Welcome-gallery' }, ...entries.map(entry => card(entry, open)))
  );
}

function card({ name, title, summary }, open) {
  const button = element(
    'button',
    { type: 'button', class: 'jp-mod-styled jp-mod-accept', 'aria-label': `Open a copy of ${title}` },
    'Open a copy'
  );
  button.addEventListener('click', async () => {
    button.disabled = true;
    await open(name);
    button.disabled = false;
  });
  return element(
    'li',
    {},
    element(
      'div',
      {},
      element('h3', {}, title),
      summary ? element('p', {}, summary) : null,
      element('code', {}, `${name}.ipynb`)
    ),
    button
  );
}
