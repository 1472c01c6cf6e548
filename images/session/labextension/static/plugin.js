/* What the session adds to JupyterLab: the welcome page, a button that copies a bundled notebook, and word of its end and of failing GPUs. */

import { clock, render } from './welcome.js';

const WELCOME = 'sciencebox:welcome';
const GALLERY = 'examples/'; // where the server shows the bundled notebooks in the user's home
const NARROW = 768; // pixels
const WARNINGS_S = [600, 60]; // how long before the session's end
const ASK_EVERY_MS = 60000;
const MOVED_MS = 120000; // an end that differs by less is the same
const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">' +
  '<path d="M4 5h16v14H4zm2 2v10h12V7zm2 2h8v2H8zm0 4h5v2H8z"/></g></svg>';

/** The plugin, made from JupyterLab's own packages, which `shared(name)` answers. */
export async function load(shared) {
  const [application, apputils, coreutils, launcher, services, icons, widgets] = await Promise.all(
    [
      '@jupyterlab/application',
      '@jupyterlab/apputils',
      '@jupyterlab/coreutils',
      '@jupyterlab/launcher',
      '@jupyterlab/services',
      '@jupyterlab/ui-components',
      '@lumino/widgets'
    ].map(shared)
  );
  return {
    id: 'sciencebox-session:welcome',
    description: 'Shows what the session has, and the example notebooks.',
    autoStart: true,
    requires: [application.ILabShell],
    optional: [launcher.ILauncher, apputils.ICommandPalette],
    activate: (app, shell, launcherItems, palette) => {
      const server = connect(services.ServerConnection, app.serviceManager.serverSettings);
      const open = copyOpener(app, server, apputils);
      addWelcome({ app, shell, server, open, apputils, icons, widgets });
      welcomeFirst(app, shell, coreutils.PageConfig);
      launcherItems?.add({ command: WELCOME, category: 'Other', rank: 0 });
      palette?.addItem({ command: WELCOME, category: 'Help' });
      addCopyButton(app, open, icons);
      warnBeforeTheEnd(server, apputils);
    }
  };
}

/** Requests to our part of the server, signed in as JupyterLab is; a refusal is an Error with the server's sentence. */
function connect(ServerConnection, settings) {
  return async (path, init = {}) => {
    const response = await ServerConnection.makeRequest(`${settings.baseUrl}sciencebox/${path}`, init, settings);
    const body = await response.json();
    if (!response.ok) {
      throw new Error(body.message);
    }
    return body;
  };
}

/** A function that opens the user's copy of a bundled notebook, asking where there is something to decide. */
function copyOpener(app, server, { Dialog, Notification, showDialog }) {
  const copy = (name, query = '') => server(`gallery/${encodeURIComponent(name)}/copy${query}`, { method: 'POST' });

  const choose = async ({ path, offer }) => {
    const { button } = await showDialog({
      title: 'You have a file of this name',
      body:
        `${path} is not a copy of the notebook as it is bundled now: it was copied from another edition, or it is your own. ` +
        `It stays as it is. You can open it, or copy the bundled notebook beside it as ${offer}.`,
      buttons: [
        Dialog.cancelButton(),
        Dialog.createButton({ label: `Copy as ${offer}`, actions: ['beside'] }),
        Dialog.okButton({ label: 'Open mine' })
      ]
    });
    return button.actions.includes('beside') ? 'beside' : button.accept ? 'mine' : 'cancel';
  };

  return async name => {
    try {
      let copied = await copy(name);
      if (copied.outcome === 'differs') {
        const choice = await choose(copied);
        if (choice === 'cancel') {
          return;
        }
        copied = choice === 'beside' ? await copy(name, '?beside=1') : copied;
      }
      if (copied.outcome === 'created') {
        Notification.info(`Copied to ${copied.path}`, { autoClose: 4000 });
      }
      await app.commands.execute('docmanager:open', { path: copied.path });
    } catch (error) {
      Notification.error(error.message, { autoClose: false });
    }
  };
}

/** The command that shows the welcome page. */
function addWelcome({ app, shell, server, open, apputils, icons, widgets }) {
  const icon = new icons.LabIcon({ name: 'sciencebox:welcome', svgstr: ICON });
  let page = null;

  const create = () => {
    const content = new widgets.Widget();
    content.addClass('sb-Welcome');
    content.node.tabIndex = -1; // the page is scrolled with the keyboard
    render(content.node, server, open);
    page = new apputils.MainAreaWidget({ content });
    page.toolbar.hide();
    page.id = 'sciencebox-welcome';
    page.title.label = 'Welcome';
    page.title.icon = icon;
    page.title.closable = true;
  };

  app.commands.addCommand(WELCOME, {
    label: 'Welcome and examples',
    caption: 'What this session has, and the example notebooks',
    icon,
    execute: () => {
      if (!page || page.isDisposed) {
        create();
      }
      if (!page.isAttached) {
        shell.add(page, 'main');
      }
      shell.activateById(page.id);
    }
  });
}

/** Show the welcome page when JupyterLab opens on nothing else: no document in the address, none open from before. */
function welcomeFirst(app, shell, PageConfig) {
  app.restored.then(() => {
    const opened = [...shell.widgets('main')];
    const launchers = opened.filter(widget => widget.id.startsWith('launcher'));
    if (PageConfig.getOption('treePath') || opened.length > launchers.length) {
      return;
    }
    app.commands.execute(WELCOME);
    launchers.forEach(widget => widget.close());
    if (window.innerWidth < NARROW) {
      shell.collapseLeft(); // the file browser would leave the page no room
    }
  });
}

/** A button on notebooks that are opened from the gallery, where they can't be saved. */
function addCopyButton(app, open, { ToolbarButton }) {
  app.docRegistry.addWidgetExtension('Notebook', {
    createNew: (panel, context) => {
      if (!context.path.startsWith(GALLERY)) {
        return;
      }
      const name = context.path.slice(GALLERY.length).replace(/\.ipynb$/, '');
      const button = new ToolbarButton({
        label: 'Copy to my files',
        tooltip: 'This notebook is bundled and read-only: open a copy that you can change',
        onClick: () => open(name)
      });
      panel.toolbar.insertItem(0, 'sciencebox-copy', button);
      return button;
    }
  });
}

/** Say it in time when the session is about to end, and when its GPU fails; who opens JupyterLab later hears of it at once. */
function warnBeforeTheEnd(server, { Notification }) {
  const ends = { time: countdown(), idle: countdown() };
  let more = null;
  let faults = [];
  let said = null; // the notification that offers more time

  const extend = async () => {
    try {
      const { seconds_left: left } = await server('end', { method: 'POST' });
      Notification.success(`This session may now run until ${clock(left)}.`, { autoClose: 8000 });
      Notification.dismiss(said);
    } catch (error) {
      Notification.error(error.message, { autoClose: false });
    }
    ask();
  };

  const ask = async () => {
    const end = await server('end').catch(() => null); // without an answer the last one holds
    if (end) {
      ends.time.set(end.seconds_left);
      ends.idle.set(end.idle_seconds_left);
      more = end.more_seconds;
      end.faults.filter(fault => !faults.includes(fault)).forEach(fault => Notification.error(fault, { autoClose: false }));
      faults = end.faults;
    }
    look();
  };

  const look = () => {
    const time = ends.time.due(WARNINGS_S);
    if (time !== null) {
      const actions = more ? [{ label: 'Stay longer', callback: extend }] : [];
      said = Notification.warning(
        `This session's time is over at ${clock(time)}. Save your work and stop your kernels: then it is stopped. Your files stay.`,
        { autoClose: false, actions }
      );
    }
    const idle = ends.idle.due([Infinity, 60]);
    if (idle !== null) {
      Notification.warning(
        `The GPU of this session has computed nothing for a long time. Unless it does, the session is stopped at ${clock(idle)}, ` +
          'so that others can have it. Your files stay; what your kernels have in memory does not.',
        { autoClose: false }
      );
    }
  };

  setInterval(ask, ASK_EVERY_MS);
  setInterval(look, 5000);
  ask();
}

/** A moment to come, by the seconds that are left; the browser's own clock may be wrong. */
function countdown() {
  let end = null;
  let told = [];
  return {
    set: left => {
      const moved = left === null ? null : performance.now() + 1000 * left;
      if (moved === null || end === null || Math.abs(moved - end) > MOVED_MS) {
        told = []; // another end: it is told anew
      }
      end = moved;
    },
    /** The seconds that are left, once for each of `warnings` as it is reached; else null. */
    due: warnings => {
      const left = end === null ? null : (end - performance.now()) / 1000;
      const reached = warnings.filter(warning => left !== null && left <= warning && !told.includes(warning));
      told.push(...reached);
      return reached.length && left > 0 ? left : null;
    }
  };
}
