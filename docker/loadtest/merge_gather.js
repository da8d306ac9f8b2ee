// The same, with the results merged in one call where the client can.
import { ask, closed } from './load.js';

export { handleSummary } from './load.js';
export const options = closed();
export default () => ask('merge_gather');
