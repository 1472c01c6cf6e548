/* Moments, which the hub gives in seconds since the epoch, in the reader's own time and words. */

/** The time today, else with the date. */
export function clock(seconds) {
  const moment = new Date(1000 * seconds);
  const today = moment.toDateString() === new Date().toDateString();
  return today
    ? moment.toLocaleTimeString([], { timeStyle: 'short' })
    : moment.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

/** Fill in every `<time data-since>` and `<time data-until>` of a part of the page. */
export function tellTimes(place) {
  for (const time of place.querySelectorAll('time[data-since], time[data-until]')) {
    const { since, until } = time.dataset;
    const seconds = Number(since ?? until);
    time.dateTime = new Date(1000 * seconds).toISOString();
    time.textContent = since ? `since ${clock(seconds)}` : `until ${clock(seconds)}`;
  }
}
