// What all scripts share: who is asked, how often, and what is noted of an answer.
//
// Nothing is a threshold here: every answer is noted with its status, and what counts is decided by who
// reads them. `cargo xtask bench serve` sets BASE, CLIENTS, VUS, SECONDS and RATE.

import http from 'k6/http';
import exec from 'k6/execution';

const clients = __ENV.CLIENTS.split(',');
const seconds = Number(__ENV.SECONDS);
const rate = Number(__ENV.RATE);

function options(scenario) {
  return {
    discardResponseBodies: true,
    systemTags: ['status'],
    scenarios: { load: { gracefulStop: '60s', ...scenario } },
  };
}

// Users who each wait for their answer: a slow service is asked less often, and hides how long others
// would have waited.
export function closed() {
  return options({ executor: 'constant-vus', vus: Number(__ENV.VUS), duration: `${seconds}s` });
}

// Requests that wait for nobody. Those for which no user is free are counted as dropped.
export function open() {
  return options({
    executor: 'constant-arrival-rate',
    rate,
    timeUnit: '1s',
    duration: `${seconds}s`,
    preAllocatedVUs: rate * 5,
    maxVUs: rate * 30,
  });
}

// From nobody to each of these numbers of users, in equal parts of the time.
export function ramp(...targets) {
  const duration = `${Math.max(1, Math.round(seconds / targets.length))}s`;
  const stages = targets.map((target) => ({ duration, target }));
  return options({ executor: 'ramping-vus', startVUs: 0, stages, gracefulRampDown: '60s' });
}

// One request, to each client in turn. The same for one client alone and for several.
export function ask(mode) {
  const client = clients[exec.scenario.iterationInTest % clients.length];
  http.get(`${__ENV.BASE}/predict/${client}/sample?mode=${mode}`, { tags: { client }, timeout: '60s' });
}

// All samples are written to a file; a summary of them would only be a second truth.
export function handleSummary() {
  return {};
}
