// The page in a real browser: each element held against what the API says, bans and sessions changed by click and by keyboard.
//
// Gets: URL of the sidecar, a token, a directory for screenshots, a user whose session may be ended, a token that may only read. Gives: one line for each check, exit code 0 when all hold.
// Never: waits without a deadline, or looks at another host.
'use strict';

const { chromium } = require('playwright-core');

const [base, token, pictures, user, reader] = process.argv.slice(2);
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const PATIENCE = 20000;
let failed = 0;

function check(name, holds, seen) {
  console.log(`${holds ? 'ok' : 'NOT OK'} ${name}${holds ? '' : `: ${JSON.stringify(seen)}`}`);
  if (!holds) failed += 1;
}

async function api(path) {
  const answer = await fetch(`${base}/api/v1${path}`, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// Waits until `holds` does; gives the last value that was seen.
async function eventually(look, holds) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const seen = await look();
    if (holds(seen) || Date.now() > end) return seen;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const rows = (page, id) => page.$$eval(`#${id} tbody tr[data-id]`, (all) => all.map((tr) => tr.dataset.id).sort());
const cells = (page, id) => page.$$eval(`#${id} tbody tr`, (all) => all.map((tr) => [...tr.cells].map((cell) => cell.textContent)));

async function open(browser, scheme, width, hash = `#token=${token}`) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(error.message));
  page.on('console', (message) => { if (message.type() === 'error') page.troubles.push(message.text()); });
  page.on('request', (request) => { if (!request.url().startsWith(base) && !request.url().startsWith('data:')) page.troubles.push(`asks ${request.url()}`); });
  await page.goto(`${base}/${hash}`);
  return page;
}

async function pictured(browser) {
  for (const [scheme, width] of [['light', 1280], ['dark', 1280], ['light', 390], ['dark', 390]]) {
    const page = await open(browser, scheme, width);
    await page.waitForSelector('#nodes tbody tr[data-id]');
    // Three points are a line.
    await page.waitForFunction(() => (document.querySelector('#chart-traffic polyline')?.getAttribute('points') || '').split(' ').length > 2);
    await page.screenshot({ path: `${pictures}/${scheme}-${width}.png`, fullPage: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    check(`${scheme}, ${width} wide: nothing sticks out`, wide <= width, wide);
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = ground.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 384;
    check(`${scheme}, ${width} wide: the colours are ${scheme}`, light === (scheme === 'light'), ground);
    check(`${scheme}, ${width} wide: no error, no foreign host`, page.troubles.length === 0, page.troubles);
    await page.context().close();
  }
}

async function elements(page) {
  const nodes = (await api('/nodes')).items;
  const shown = await eventually(() => rows(page, 'nodes'), (seen) => seen.length === nodes.length);
  check('every node has its row', JSON.stringify(shown) === JSON.stringify(nodes.map((node) => node.name).sort()), shown);
  const ready = nodes.filter((node) => node.state === 'ready').length;
  const tile = await eventually(() => page.textContent('[data-tile="nodes"]'), (text) => text === `${ready} / ${nodes.length}`);
  check('the tile counts the nodes', tile === `${ready} / ${nodes.length}`, tile);
  const sessions = await eventually(async () => [(await api('/sessions')).items.map((one) => one.id).sort(), await rows(page, 'sessions')], ([there, seen]) => JSON.stringify(there) === JSON.stringify(seen));
  check('every session has its row', JSON.stringify(sessions[0]) === JSON.stringify(sessions[1]) && sessions[0].length > 0, sessions);
  const bans = (await api('/bans')).items.map((ban) => ban.id).sort();
  const banned = await eventually(() => rows(page, 'ban-list'), (seen) => JSON.stringify(seen) === JSON.stringify(bans));
  check('every ban has its row', JSON.stringify(banned) === JSON.stringify(bans) && bans.length > 0, banned);
  const total = async () => (await api('/nodes')).items.reduce((sum, node) => sum + node.sessions, 0);
  const counted = await eventually(async () => [String(await total()), await page.textContent('[data-tile="sessions"]')], ([there, seen]) => there === seen);
  check('the tile counts the sessions', counted[0] === counted[1], counted);
  const bytes = await eventually(() => page.textContent('[data-tile="in"]'), (text) => /^[1-9]/.test(text) && text.endsWith('B/s'));
  check('what is uploaded is on its tile', /^[1-9].*B\/s$/.test(bytes), bytes);
  const failing = await eventually(() => page.textContent('[data-tile="failed"]'), (text) => Number(text) > 0);
  check('failed logins are on their tile', Number(failing) > 0, failing);
  for (const chart of ['traffic', 'logins']) {
    const lines = await eventually(() => page.$$eval(`#chart-${chart} polyline`, (all) => all.map((one) => one.getAttribute('points').trim().split(' ').length)), (all) => all.length === 2 && all.every((points) => points > 2));
    check(`the chart of ${chart} has two lines`, lines.length === 2 && lines.every((points) => points > 2), lines);
  }
  const table = await eventually(() => cells(page, 'nodes'), (seen) => seen.length === nodes.length);
  check('each node says its state, relays, clock and address', nodes.every((node) => table.some((one) => one[0] === node.name && one[1].startsWith(node.state) && /^\d+$/.test(one[4]) && one[5] === 'agrees' && one[6] === node.address)), table);
  const certificates = (await api('/certificates')).items;
  const days = await eventually(() => cells(page, 'certificates'), (seen) => seen.length === certificates.length && seen[0].length === 4);
  const left = Math.floor((Date.parse(certificates[0].not_after) - Date.now()) / 86400000);
  check('a certificate without a responder has no staple', days.every((one) => one[2] === '–'), days);
  check('certificates have their days', days.some((one) => one[1].startsWith(String(left))), days);
  const transfers = (await api('/transfers?limit=10')).items;
  const last = await eventually(() => cells(page, 'transfers'), (seen) => transfers.length === 0 || seen[0].length === 5);
  check('transfers are shown', transfers.length === 0 || transfers.every((one) => last.some((row) => row[2].endsWith(one.path))), last);
  for (const name of ['sessions', 'transfers', 'in', 'out', 'logins', 'failed', 'resumed', 'hits']) {
    const text = await eventually(() => page.textContent(`[data-tile="${name}"]`), (seen) => seen !== '–' || name === 'hits');
    check(`the tile ${name} has a value`, /\d|–/.test(text), text);
  }
  check('the address bar has no token', !(await page.url()).includes(token), page.url());
}

async function banByClick(page) {
  await page.fill('#ban-target', '203.0.113.77');
  await page.fill('#ban-reason', 'a test, by click');
  await page.click('#ban button[type="submit"]');
  const said = await eventually(() => page.textContent('#ban-said'), (text) => text.includes('is banned'));
  check('a ban by click says how far it spread', /203\.0\.113\.77 is banned: in force on/.test(said), said);
  const there = (await api('/bans')).items.filter((ban) => ban.target.ip === '203.0.113.77');
  check('the ban is there', there.length === 1 && there[0].reason === 'a test, by click', there);
  const id = there[0]?.id;
  await page.click(`#ban-list tr[data-id="${id}"] button`);
  await page.click('#ask-yes');
  const gone = await eventually(async () => (await api('/bans')).items.some((ban) => ban.id === id), (seen) => !seen);
  check('the ban is removed by click', gone === false, gone);
}

async function banByKeyboard(page) {
  await page.focus('#ban-kind');
  await page.keyboard.type('user');
  await page.keyboard.press('Tab');
  await page.keyboard.type('nobody-by-this-name');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.type('a test, by keyboard');
  await page.keyboard.press('Enter');
  const find = async () => (await api('/bans')).items.find((ban) => ban.target.user === 'nobody-by-this-name');
  const ban = await eventually(find, Boolean);
  check('a ban by keyboard is there', ban?.reason === 'a test, by keyboard', ban);
  await page.waitForSelector(`#ban-list tr[data-id="${ban?.id}"] button`);
  // From the form to the button of its row with the Tab key alone.
  await page.focus('#ban-dry');
  for (let step = 0; step < 50; step += 1) {
    await page.keyboard.press('Tab');
    if (await page.evaluate((id) => document.activeElement.closest('tr')?.dataset.id === id, ban?.id)) break;
  }
  await page.keyboard.press('Enter');
  await page.waitForSelector('#ask[open]');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  const gone = await eventually(find, (seen) => !seen);
  check('the ban is removed by keyboard', !gone, gone);
}

async function dryAndWrong(page) {
  await page.selectOption('#ban-kind', 'cidr');
  await page.fill('#ban-target', '0.0.0.0/0');
  await page.fill('#ban-reason', 'too wide');
  await page.click('#ban button[type="submit"]');
  const said = await eventually(() => page.textContent('#ban-said'), (text) => text && !text.startsWith('asking'));
  check('a refusal is said in words', !said.includes('is banned') && said.length > 10, said);
}

async function filterAndColours(page) {
  await page.fill('#filter', user);
  const mine = await cells(page, 'sessions');
  check('the filter leaves only the user', mine.length > 0 && mine.every((one) => one[0] === user), mine);
  await page.fill('#filter', 'nobody-by-this-name');
  const none = await cells(page, 'sessions');
  check('a filter that fits nobody says so', none.length === 1 && none[0][0] === 'nobody fits', none);
  await page.fill('#filter', '');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.click('#theme');
  const after = await ground();
  await page.click('#theme');
  check('a click turns light into dark and back', before !== after && before === (await ground()), [before, after]);
}

async function change(method, path, body) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const answer = await fetch(`${base}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// A ban that somebody else makes is shown, and gone when it is removed.
async function told(page, name, ip) {
  const { id } = await change('POST', '/bans', { target: { ip }, duration: '1h', reason: 'a test, by somebody else' });
  const shown = await eventually(() => rows(page, 'ban-list'), (seen) => seen.includes(id));
  check(`${name}: a ban of somebody else is shown`, shown.includes(id), shown);
  await change('DELETE', `/bans/${id}`);
  const gone = await eventually(() => rows(page, 'ban-list'), (seen) => !seen.includes(id));
  check(`${name}: and gone when it is removed`, !gone.includes(id), gone);
}

// By the stream of events, with looks that come too seldom for this test; without it, by looks alone.
async function living(browser) {
  const page = await open(browser, 'light', 1280);
  const state = await eventually(() => page.textContent('#live'), (text) => text === 'live');
  check('the page is live', state === 'live', state);
  await page.waitForSelector('#ban-list tbody tr');
  await told(page, 'live', '203.0.113.78');
  check('live: no error, no foreign host', page.troubles.length === 0, page.troubles);
  await page.context().close();
  const context = await browser.newContext();
  const deaf = await context.newPage();
  deaf.setDefaultTimeout(PATIENCE);
  await deaf.route('**/events**', (route) => route.abort());
  await deaf.goto(`${base}/#token=${token}`);
  await deaf.waitForSelector('#ban-list tbody tr');
  const alone = await deaf.textContent('#live');
  check('without the stream the page says how it looks', alone.startsWith('asked'), alone);
  await told(deaf, 'without the stream', '203.0.113.79');
  await context.close();
}

// Who may only read sees all but the audit, and nothing to press.
async function readOnly(browser) {
  const page = await open(browser, 'dark', 1280, `#token=${reader}`);
  await page.waitForSelector('#sessions tbody tr[data-id]');
  await page.waitForSelector('#ban-list tbody tr[data-id]');
  const buttons = await page.$$eval('table button', (all) => all.length);
  const enabled = await page.$$eval('#ban input, #ban select, #ban button', (all) => all.filter((one) => !one.disabled).length);
  check('who may only read has no button', buttons === 0 && enabled === 0, [buttons, enabled]);
  check('who may only read sees no audit', !(await page.isVisible('#audit-section')), null);
  check('read only: no error', page.troubles.length === 0, page.troubles);
  await page.context().close();
}

async function kick(page) {
  const mine = async () => (await api('/sessions')).items.filter((session) => session.user === user);
  const before = await mine();
  if (before.length === 0) return check('a session to end', false, before);
  await page.fill('#filter', user);
  await page.click(`#sessions tr[data-id="${before[0].id}"] button`);
  await page.click('#ask-yes');
  const after = await eventually(mine, (seen) => !seen.some((session) => session.id === before[0].id));
  check('a session is ended by click', !after.some((session) => session.id === before[0].id), after);
  await page.fill('#filter', '');
}

async function door(browser) {
  const page = await open(browser, 'light', 1280, '');
  await page.fill('#token', 'not-a-token-of-this-gateway');
  await page.click('#sign-in button');
  const said = await eventually(() => page.textContent('#door-error'), (text) => text.length > 0);
  check('a wrong token is refused in words', said.length > 5 && (await page.isVisible('#door')), said);
  await page.fill('#token', token);
  await page.click('#sign-in button');
  await page.waitForSelector('#nodes tbody tr[data-id]');
  await page.click('#leave');
  check('signing out forgets the token', await page.evaluate(() => sessionStorage.getItem('token') === null), null);
  await page.context().close();
}

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: FLAGS });
  try {
    await pictured(browser);
    await door(browser);
    await readOnly(browser);
    await living(browser);
    const page = await open(browser, 'light', 1280);
    await page.waitForSelector('#nodes tbody tr[data-id]');
    await elements(page);
    await banByClick(page);
    await banByKeyboard(page);
    await dryAndWrong(page);
    await filterAndColours(page);
    await kick(page);
    const audit = await eventually(() => cells(page, 'audit'), (seen) => seen.some((row) => row.join(' ').includes('/bans')));
    check('the audit shows the bans', audit.some((row) => row.join(' ').includes('/bans')), audit);
    check('no error, no foreign host', page.troubles.filter((text) => !/40[0-9]|422/.test(text)).length === 0, page.troubles);
  } finally {
    await browser.close();
  }
  process.exit(failed ? 1 : 0);
})().catch((error) => { console.log(`NOT OK ${error.stack}`); process.exit(1); });
