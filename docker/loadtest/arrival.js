// As single, but requests come at a constant rate and wait for nobody.
import { ask, open } from './load.js';

export { handleSummary } from './load.js';
export const options = open();
export default () => ask('single');
