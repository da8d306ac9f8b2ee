// One batch read over all sets.
import { ask, closed } from './load.js';

export { handleSummary } from './load.js';
export const options = closed();
export default () => ask('single');
