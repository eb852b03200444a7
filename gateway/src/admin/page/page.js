// The page of the sidecar: asks the API of the node that served it, which answers for the cluster.
// Never: puts text of a client anywhere but into text nodes; keeps the token beyond this tab; asks another host.
'use strict';

const API = 'api/v1';
const $ = (id) => document.getElementById(id);
const store = { get: (key) => sessionStorage.getItem(key), set: (key, value) => (value === null ? sessionStorage.removeItem(key) : sessionStorage.setItem(key, value)) };

// ---- asking ----

class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `the node answers ${status}`);
    this.status = status;
  }
}

async function call(method, path, body) {
  const headers = { authorization: `Bearer ${store.get('token')}`, accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(`${API}${path}`, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(15000),
  });
  const text = await answer.text();
  let said = {};
  try { said = text ? JSON.parse(text) : {}; } catch { said = { detail: 'the answer is no JSON' }; }
  if (answer.ok) return said;
  if (answer.status === 401) signOut('The token is not accepted any more.');
  throw new Problem(answer.status, said);
}

const has = (scope) => scopes.has('admin') || scopes.has(scope);
let scopes = new Set();

// ---- showing ----

function row(cells, id) {
  const tr = document.createElement('tr');
  if (id) tr.dataset.id = id;
  for (const cell of cells) {
    const td = document.createElement('td');
    const { text, kind, title, node } = typeof cell === 'object' && cell !== null ? cell : { text: cell };
    if (kind) td.className = kind;
    if (title) td.title = title;
    if (node) td.append(node); else td.textContent = text ?? '–';
    tr.append(td);
  }
  return tr;
}

// Replaces the rows; the button that has the focus keeps it.
function fill(id, rows, none) {
  const table = $(id);
  const body = table.tBodies[0];
  const focus = document.activeElement?.closest?.(`#${id} tr`)?.dataset.id;
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  if (rows.length === 0) {
    const tr = row([{ text: none, kind: 'none' }]);
    tr.cells[0].colSpan = heads.length;
    rows = [tr];
  }
  for (const tr of rows) [...tr.cells].forEach((cell, place) => { cell.dataset.head = heads[place] || ''; });
  body.replaceChildren(...rows);
  if (focus) body.querySelector(`tr[data-id="${CSS.escape(focus)}"] button`)?.focus();
}

function button(label, name, act, danger) {
  const one = document.createElement('button');
  one.type = 'button';
  one.textContent = label;
  one.setAttribute('aria-label', name);
  if (danger) one.className = 'danger';
  one.addEventListener('click', act);
  return { node: one, kind: 'act' };
}

function bytes(number) {
  if (!Number.isFinite(number)) return '–';
  for (const [unit, size] of [['TiB', 2 ** 40], ['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (number >= size) return `${(number / size).toFixed(number / size < 10 ? 1 : 0)} ${unit}`;
  }
  return `${Math.round(number)} B`;
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

const ago = (time) => (time ? `${span((Date.now() - Date.parse(time)) / 1000)} ago` : '–');
const until = (time) => (time ? `in ${span((Date.parse(time) - Date.now()) / 1000)}` : 'never');
const share = (part, all) => (all > 0 ? `${Math.round((100 * part) / all)} %` : '–');
const tile = (name, text) => { document.querySelector(`[data-tile="${name}"]`).textContent = text; };

function say(text, kind) {
  $('ban-said').textContent = text;
  $('ban-said').className = kind || '';
}

function ask(text, yes) {
  const dialog = $('ask');
  $('ask-text').textContent = text;
  $('ask-yes').textContent = yes;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

// ---- nodes and charts ----

const points = { in: [], out: [], ok: [], failed: [] };
const KEPT = 150;
let last = null;

// Counters begin anew with a node: only nodes that were there before are compared.
function rates(nodes) {
  const now = performance.now();
  const current = new Map(nodes.map((node) => [node.incarnation, node.counters || {}]));
  const sum = {};
  if (last) {
    const seconds = (now - last.at) / 1000;
    for (const [incarnation, counters] of current) {
      const before = last.nodes.get(incarnation);
      if (!before) continue;
      for (const [name, value] of Object.entries(counters)) sum[name] = (sum[name] || 0) + Math.max(0, value - (before[name] || 0)) / seconds;
    }
  }
  const first = !last;
  last = { at: now, nodes: current };
  return first ? null : sum;
}

function chart(id, lines) {
  const svg = $(id);
  const most = Math.max(1, ...lines.flatMap(([name]) => points[name]));
  const parts = [0.25, 0.5, 0.75, 1].map((height) => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    for (const [name, value] of Object.entries({ x1: 0, x2: 600, y1: 150 - 140 * height, y2: 150 - 140 * height })) line.setAttribute(name, value);
    return line;
  });
  for (const [name, kind] of lines) {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    const values = points[name];
    line.setAttribute('class', kind);
    line.setAttribute('points', values.map((value, place) => `${600 - (values.length - 1 - place) * (600 / (KEPT - 1))},${149 - (140 * value) / most}`).join(' '));
    parts.push(line);
  }
  svg.replaceChildren(...parts);
}

function push(name, value) {
  points[name].push(value || 0);
  if (points[name].length > KEPT) points[name].shift();
}

function showRates(rate) {
  push('in', rate.bytes_in); push('out', rate.bytes_out);
  push('ok', (rate.logins_ok || 0) * 60); push('failed', (rate.logins_failed || 0) * 60);
  tile('in', `${bytes(rate.bytes_in || 0)}/s`);
  tile('out', `${bytes(rate.bytes_out || 0)}/s`);
  tile('logins', Math.round((rate.logins_ok || 0) * 60));
  tile('failed', Math.round((rate.logins_failed || 0) * 60));
  chart('chart-traffic', [['in', 'a'], ['out', 'b']]);
  $('peak-traffic').textContent = `top: ${bytes(Math.max(1, ...points.in, ...points.out))}/s`;
  chart('chart-logins', [['ok', 'a'], ['failed', 'c']]);
  $('peak-logins').textContent = `top: ${Math.ceil(Math.max(1, ...points.ok, ...points.failed))} a minute`;
}

function nodeRow(node) {
  const troubles = node.degraded || [];
  const state = document.createElement('span');
  state.textContent = node.state;
  state.className = node.state === 'ready' ? (troubles.length ? 'warn' : 'good') : 'warn';
  const box = document.createElement('span');
  box.append(state);
  for (const { what, detail } of troubles) {
    const small = document.createElement('small');
    small.textContent = ` degraded: ${what}: ${detail}`;
    box.append(small);
  }
  const sessions = node.sessions_limit ? `${node.sessions} of ${node.sessions_limit}` : node.sessions;
  const skew = node.clock_skew_seconds || 0;
  const clock = { text: skew < 0.05 ? 'agrees' : `off ${skew.toFixed(1)} s`, kind: skew > 2 ? 'bad' : '', title: 'the widest difference to the clock of another node' };
  return row([node.name, { node: box }, sessions, node.transfers, node.relaying ?? 0, clock, node.address, node.version, ago(node.started_at).replace(' ago', '')], node.name);
}

async function nodes() {
  const { items, silent = [] } = await call('GET', '/nodes');
  fill('nodes', items.map(nodeRow), 'no node');
  const ready = items.filter((node) => node.state === 'ready').length;
  const degraded = items.filter((node) => (node.degraded || []).length).length;
  const all = items.length + silent.length;
  $('silent').textContent = silent.length ? `No answer from ${silent.join(', ')}.` : '';
  const state = $('state');
  state.dataset.state = silent.length ? 'bad' : degraded || ready < all ? 'warn' : 'well';
  state.textContent = silent.length ? `${silent.length} of ${all} nodes silent` : degraded ? `${degraded} of ${all} nodes degraded` : ready < all ? `${ready} of ${all} nodes ready` : `all ${all} nodes ready`;
  if (all === 1 && state.dataset.state === 'well') state.textContent = 'ready';
  const total = (name) => items.reduce((sum, node) => sum + (node[name] || 0), 0);
  const counted = (name) => items.reduce((sum, node) => sum + ((node.counters || {})[name] || 0), 0);
  tile('nodes', `${ready} / ${all}`);
  tile('sessions', total('sessions'));
  tile('transfers', total('transfers'));
  const resumed = counted('handshakes_resumed');
  tile('resumed', share(resumed, resumed + counted('handshakes_full')));
  const hits = counted('cache_hits');
  tile('hits', share(hits, hits + counted('cache_misses')));
  const rate = rates(items);
  if (rate) showRates(rate);
}

// ---- sessions ----

let known = [];

function showSessions() {
  const wanted = $('filter').value.trim().toLowerCase();
  const fits = (session) => [session.user, session.address, session.node, session.class].some((text) => (text || '').toLowerCase().includes(wanted));
  const shown = known.filter(fits);
  $('sessions-count').textContent = wanted ? `${shown.length} of ${known.length}` : `${known.length}`;
  fill('sessions', shown.slice(0, 200).map(sessionRow), wanted ? 'nobody fits' : 'nobody is here');
}

function sessionRow(session) {
  const tls = session.tls ? `${session.tls}${session.resumed ? ', resumed' : ''}` : '–';
  const who = session.user || '(not logged in)';
  const end = has('sessions') ? button('End', `End the session of ${who} from ${session.address}`, () => kick(session), true) : '';
  return row([who, session.address, session.node, session.state, tls, bytes(session.bytes), ago(session.since), end], session.id);
}

async function sessions() {
  known = (await call('GET', '/sessions?limit=200')).items;
  showSessions();
}

async function kick(session) {
  if (!(await ask(`End the session of ${session.user || 'somebody who is not logged in'} from ${session.address} on ${session.node}? A transfer of it is cut.`, 'End it'))) return;
  try {
    await call('DELETE', `/sessions/${encodeURIComponent(session.id)}`);
    say(`The session of ${session.user || session.address} was ended.`, 'good');
  } catch (problem) { say(problem.message, 'bad'); }
  await tick(sessions);
}

// ---- bans ----

function targetOf(ban) {
  const [kind, value] = Object.entries(ban.target || {})[0] || ['?', '?'];
  return { ip: value, cidr: value, user: `user ${value}`, class: `class ${value}`, user_at_host: value, certificate: `certificate ${value}` }[kind] || value;
}

function banRow(ban) {
  const name = targetOf(ban);
  const lift = has('bans') ? button('Remove', `Remove the ban of ${name}`, () => unban(ban), false) : '';
  const reason = `${ban.reason || ''}${ban.dry_run ? ' (dry run)' : ''}`;
  return row([name, until(ban.expires_at), { text: reason, title: ban.evidence || '' }, `${ban.author || '–'}${ban.source === 'rule' ? ' (rule)' : ''}`, ago(ban.created_at), lift], ban.id);
}

async function bans() {
  const { items, next } = await call('GET', '/bans?limit=100');
  $('bans-count').textContent = next ? `the first ${items.length}` : `${items.length}`;
  fill('ban-list', items.map(banRow), 'nobody is banned');
}

// How far it has spread, in words.
function spread({ acknowledged, nodes: all, silent = [], state } = {}) {
  if (state === 'everywhere') return all === 1 ? 'in force on this node, the only one' : `in force on all ${all} nodes`;
  if (state === 'local_only') return 'in force on this node alone: the others cannot be reached';
  return `in force on ${acknowledged} of ${all} nodes; no answer from ${silent.join(', ') || 'the others'}`;
}

async function ban(event) {
  event.preventDefault();
  const submit = $('ban').querySelector('button[type="submit"]');
  const dry = $('ban-dry').checked;
  const target = $('ban-target').value.trim();
  const body = { target: { [$('ban-kind').value]: target }, duration: $('ban-duration').value, reason: $('ban-reason').value.trim(), dry_run: dry };
  submit.disabled = true;
  say('asking all nodes…');
  try {
    const done = await call('POST', '/bans?wait=2s', body);
    if (dry) say(`It would end ${done.sessions_ended} live sessions; nothing was changed.`);
    else {
      say(`${target} is banned: ${spread(done.propagation)}; ${done.sessions_ended} live sessions ended.`, done.propagation?.state === 'everywhere' ? 'good' : 'warn');
      $('ban-target').value = '';
    }
  } catch (problem) { say(problem.message, 'bad'); }
  submit.disabled = false;
  await tick(bans);
}

async function unban(one) {
  if (!(await ask(`Remove the ban of ${targetOf(one)}?`, 'Remove it'))) return;
  try {
    const done = await call('DELETE', `/bans/${encodeURIComponent(one.id)}?wait=2s`);
    say(`The ban of ${targetOf(one)} is lifted: ${spread(done.propagation)}.`.replace('in force', 'gone'), done.propagation?.state === 'everywhere' ? 'good' : 'warn');
  } catch (problem) { say(problem.message, 'bad'); }
  await tick(bans);
  $('ban-target').focus();
}

// ---- the rest ----

// What is stapled to a certificate: until when it is good, or what is wrong with it.
function staple(one) {
  if (!one || one.status === 'none') return '–';
  const kind = one.status === 'good' ? 'good' : one.must_staple || one.status === 'revoked' ? 'bad' : 'warn';
  return { text: one.status === 'good' ? `until ${one.next_update.slice(0, 10)}` : one.status, kind, title: one.problem || one.next_update || '' };
}

async function certificates() {
  const [{ items }, staples] = await Promise.all([call('GET', '/certificates'), call('GET', '/staples')]);
  const stapled = new Map(staples.items.map((one) => [`${one.node} ${one.fingerprint}`, one]));
  fill('certificates', items.map((one) => {
    const days = Math.floor((Date.parse(one.not_after) - Date.now()) / 86400000);
    const kind = days < 7 ? 'bad' : days < 30 ? 'warn' : 'good';
    return row([(one.names || []).join(', ') || '–', { text: one.self_signed ? `${days}, self-signed` : `${days}`, kind: one.self_signed ? 'warn' : kind, title: one.not_after }, staple(stapled.get(`${one.node} ${one.fingerprint}`)), one.node], `${one.node} ${one.fingerprint}`);
  }), 'none');
}

async function transfers() {
  const { items } = await call('GET', '/transfers?limit=10');
  const verb = { upload: '↑', download: '↓', list: '≡' };
  fill('transfers', items.map((one) => row([ago(one.started_at), one.user, `${verb[one.direction] || ''} ${one.path}`, bytes(one.bytes), { text: one.result, kind: one.result === 'complete' ? 'good' : 'bad' }], one.id)), 'none yet');
}

async function audit() {
  $('audit-section').hidden = !has('admin');
  if (!has('admin')) return;
  const { items } = await call('GET', '/audit?limit=10');
  fill('audit', items.map((one) => row([ago(one.time), one.actor || '–', `${one.method} ${one.path}${one.target ? ` ${one.target}` : ''}`, { text: `${one.result} (${one.status})`, kind: one.result === 'done' ? 'good' : 'bad' }, one.source], one.request_id)), 'nothing was changed yet');
}

// ---- living ----

const failing = new Set();

// A failed look shows in the state and nowhere else; the next one may succeed.
async function tick(look) {
  try {
    await look();
    failing.delete(look);
  } catch (problem) {
    if (problem.status === 401 || !store.get('token')) return;
    if (problem.status === 403 || problem.status === 404) return;
    failing.add(look);
    $('state').dataset.state = 'bad';
    $('state').textContent = problem.name === 'TypeError' || problem.name === 'TimeoutError' ? 'this node does not answer' : problem.message;
  }
}

// Each look with its seconds: while nobody tells of changes, and while the stream of events does (for what has no event, as a ban that ends by itself).
// Rates are differences of counters, so nodes are asked always.
const LOOKS = [[nodes, 2, 2], [sessions, 3, 30], [bans, 4, 30], [transfers, 5, 30], [audit, 5, 30], [certificates, 60, 60]];
// What an event of the stream has changed.
const NEWS = {
  accepted: [sessions], logged_in: [sessions], closed: [sessions], transfer_started: [sessions], transfer_ended: [transfers, sessions],
  banned: [bans], unbanned: [bans], ban_arrived: [bans], audit: [audit],
  draining: [nodes], member_joined: [nodes], member_left: [nodes], reloaded: [nodes, certificates],
};
const TOGETHER = 700;
const SILENCE = 40000;
const AGAIN = 10000;
const beats = new Map();
const soon = new Set();
let stream = null;
let live = false;

// The next look, in its time.
function beat(look) {
  const [, alone, told] = LOOKS.find(([one]) => one === look);
  clearTimeout(beats.get(look));
  beats.set(look, setTimeout(() => see(look), (live ? told : alone) * 1000));
}

async function see(look) {
  if (!document.hidden) await tick(look);
  if (beats.has(look)) beat(look);
}

// Something has changed: a look for all that changes within a moment.
function changed(look) {
  if (soon.has(look)) return;
  soon.add(look);
  setTimeout(() => { soon.delete(look); if (beats.has(look)) see(look); }, TOGETHER);
}

function setLive(is) {
  live = is;
  $('live').textContent = is ? 'live' : 'asked every few seconds';
  for (const look of beats.keys()) beat(look);
}

// Follows the stream of events as long as this tab is seen. Without it (no place among the watchers, a proxy that holds it back) the looks go on by themselves.
async function watch() {
  const mine = new AbortController();
  stream = mine;
  while (stream === mine) {
    try {
      const headers = { authorization: `Bearer ${store.get('token')}`, accept: 'text/event-stream' };
      const answer = await fetch(`${API}/events?names=${Object.keys(NEWS).join(',')}`, { headers, cache: 'no-store', credentials: 'omit', signal: mine.signal });
      if (answer.ok) await follow(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch { /* It is tried again. */ }
    if (stream !== mine) return;
    setLive(false);
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

async function follow(reader) {
  let kept = '';
  let alarm = 0;
  for (;;) {
    // A quiet node says so every 15 s.
    alarm = setTimeout(() => reader.cancel(), SILENCE);
    const { done, value } = await reader.read();
    clearTimeout(alarm);
    if (done) return;
    if (!live) {
      setLive(true);
      for (const look of beats.keys()) changed(look);
    }
    const lines = (kept + value).split('\n');
    kept = lines.pop();
    for (const line of lines) if (line.startsWith('event: ')) (NEWS[line.slice(7)] || []).forEach(changed);
  }
}

function leave() {
  const old = stream;
  stream = null;
  old?.abort();
}

function begin() {
  for (const [look] of LOOKS) { beats.set(look, 0); see(look); }
  setLive(false);
  watch();
}

async function signIn(token) {
  store.set('token', token);
  $('door-error').textContent = '';
  try {
    const me = await call('GET', '/token');
    scopes = new Set(me.scopes);
    $('who').textContent = me.name;
  } catch (problem) {
    if (problem.status !== 401) signOut(problem.name === 'TypeError' ? 'This node does not answer.' : problem.message);
    return;
  }
  $('door').hidden = true;
  $('page').hidden = false;
  $('leave').hidden = false;
  for (const field of $('ban').elements) field.disabled = !has('bans');
  begin();
}

function signOut(why) {
  store.set('token', null);
  leave();
  for (const timer of beats.values()) clearTimeout(timer);
  beats.clear();
  live = false;
  $('live').textContent = '';
  last = null;
  $('page').hidden = true;
  $('leave').hidden = true;
  $('door').hidden = false;
  $('who').textContent = '';
  $('state').dataset.state = 'wait';
  $('state').textContent = 'signed out';
  $('door-error').textContent = why || '';
  $('token').focus();
}

function theme(next) {
  const root = document.documentElement;
  if (next) {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    store.set('theme', dark ? 'light' : 'dark');
  }
  if (store.get('theme')) root.dataset.theme = store.get('theme');
}

theme(false);
$('theme').addEventListener('click', () => theme(true));
$('leave').addEventListener('click', () => signOut(''));
$('filter').addEventListener('input', showSessions);
document.addEventListener('visibilitychange', () => {
  if (beats.size === 0) return;
  leave();
  setLive(false);
  if (!document.hidden) { for (const look of beats.keys()) changed(look); watch(); }
});
$('ban').addEventListener('submit', ban);
$('ban-kind').addEventListener('change', () => {
  const examples = { ip: '203.0.113.7', cidr: '203.0.113.0/24', user: 'alice', user_at_host: 'alice@203.0.113.7', class: 'partners', certificate: 'cn:alice' };
  $('ban-target').placeholder = examples[$('ban-kind').value];
});
$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = $('token').value.trim();
  $('token').value = '';
  signIn(token);
});

// The token of a link: taken once, and gone from the address bar and the history.
const handed = new URLSearchParams(location.hash.slice(1)).get('token');
if (handed) {
  history.replaceState(null, '', location.pathname);
  store.set('token', handed);
}
if (store.get('token')) signIn(store.get('token')); else signOut('');
