// More users than there is room for, and back.
import { ask, ramp } from './load.js';

export { handleSummary } from './load.js';
export const options = ramp(20, 50, 0);
export default () => ask('single');
