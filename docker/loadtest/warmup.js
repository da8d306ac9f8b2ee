// Before anything counts: connections are made, code is specialised, caches are filled.
import { ask, closed } from './load.js';

export { handleSummary } from './load.js';
export const options = closed();
export default () => ask('single');
