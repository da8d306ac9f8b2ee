// One batch read for each set, all at once.
import { ask, closed } from './load.js';

export { handleSummary } from './load.js';
export const options = closed();
export default () => ask('gather');
