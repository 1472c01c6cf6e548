/* Moments, which the hub gives in seconds since the epoch, in the reader's own time and words. */

/** The time today, else with the date. */
export function clock(seconds) {
  const moment = new Date(1000 * seconds);
  const today = moment.toDateString() === new Date().toDateString();
  return today
    ? moment.toLocaleTimeString([], { timeStyle: 'short' })
    : moment.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

/** Fill in every `<time>` of a part of the page, by its `data-since`, `data-until` or `data-at`. */
export function tellTimes(place) {
  for (const kind of ['since', 'until', 'at']) {
    for (const time of place.querySelectorAll(`time[data-${kind}]`)) {
      const seconds = Number(time.dataset[kind]);
      time.dateTime = new Date(1000 * seconds).toISOString();
      time.textContent = kind === 'at' ? clock(seconds) : `${kind} ${clock(seconds)}`;
    }
  }
}
