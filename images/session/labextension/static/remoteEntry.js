/*
 * The container that JupyterLab loads (webpack's module federation), written by hand: `init` is given the share scope, in
 * which JupyterLab offers its own packages, and `get` answers the modules named in package.json. It spares the session
 * image a JavaScript build; the plugin is the plain ES module plugin.js.
 */
(() => {
  const folder = new URL('.', document.currentScript.src);
  let scope = {};

  /** A package of JupyterLab's, in the one version that it ships. */
  const shared = async name => {
    const [version] = Object.values(scope[name] ?? {});
    if (!version) {
      throw new Error(`JupyterLab shares no package ${name}`);
    }
    return (await version.get())();
  };

  const modules = {
    './extension': async () => {
      const { load } = await import(new URL('plugin.js', folder));
      return { __esModule: true, default: await load(shared) };
    },
    './style': async () => {
      const sheet = document.createElement('link');
      sheet.rel = 'stylesheet';
      sheet.href = new URL('style.css', folder);
      document.head.append(sheet);
      return {};
    }
  };

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB['sciencebox-session'] = {
    init: shareScope => {
      scope = shareScope;
    },
    get: async name => {
      const module = await modules[name]();
      return () => module;
    }
  };
})();
