// Common code of all load scripts: targets, request rates, and recorded properties of responses.
//
// There are no thresholds: every response is recorded with its status, and the reports evaluate them. `cargo xtask bench serve` sets BASE, CLIENTS, VUS, SECONDS and RATE.

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

// Closed loop: users wait for each response, so they send fewer requests if the service is slow.
export function closed() {
  return options({ executor: 'constant-vus', vus: Number(__ENV.VUS), duration: `${seconds}s` });
}

// Open loop: requests at a constant rate. Requests for which no user is free are counted as dropped.
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
