// An endpoint of tasker in JavaScript: node endpoint.js handlers.js. README.md says how to use it, and
// docs/protocol.md is the contract, whose words are used here.
import {createHash, randomBytes} from 'node:crypto'
import fs from 'node:fs'
import {hostname} from 'node:os'
import path from 'node:path'
import {setTimeout as sleep} from 'node:timers/promises'
import {pathToFileURL} from 'node:url'
import amqp from 'amqplib'

const env = process.env
const name = env.TASKER_ENDPOINT ?? hostname()
const addresses = (env.TASKER_GATEWAY ?? 'https://localhost:8889').split(',')
const token = () => fs.readFileSync(env.TASKER_TOKEN_FILE ?? 'token', 'utf8').trim() // it may be replaced
const broker = env.TASKER_RABBITMQ ?? 'amqp://localhost'
const queueType = env.TASKER_QUEUE_TYPE ?? 'classic' // this and the next one must be those of the managers
const queueExpires = Number(env.TASKER_QUEUE_EXPIRES ?? 7 * 24 * 3600 * 1000)
const spool = env.TASKER_SPOOL ?? 'spool'

const manager = randomBytes(13).toString('hex') // another one in each process
const {default: handlers} = await import(pathToFileURL(process.argv[2] ?? 'handlers.js'))
const pools = Object.entries(handlers).map(([type, handler]) =>
  ({type, slots: 4, timeout: 3600_000, retry: [], ...handler, running: new Set(), waiting: true, due: true}))
const types = pools.map(pool => pool.type)

const log = (msg, fields) => console.log(encode({time: new Date().toISOString(), msg, endpoint: name, ...fields}))
const jitter = n => Math.random() * Math.min(30_000, 500 * 2 ** Math.min(n, 10))

// --- JSON with exact ids. Integers that JSON.parse would round arrive as strings; ids are BigInts in this program,
// and numbers again where they are written. Payloads are texts, in which nothing is touched.

const stringOrLarge = /"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g // a string, or a large integer
const parse = text => JSON.parse(text.replace(stringOrLarge, part => (part[0] === '"' ? part : `"${part}"`)))

function encode(value) {
  if (typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return `[${value.map(encode)}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const members = Object.entries(value).filter(([, v]) => v !== undefined)
  return `{${members.map(([k, v]) => `${JSON.stringify(k)}:${encode(v)}`)}}`
}

// --- The gateway.

class Refused extends Error {} // the request will never be taken

let address = 0
let databaseTime = 0 // at the latest answer, in milliseconds

// ask repeats a request until it has an answer.
async function ask(operation, body, {tries = Infinity} = {}) {
  for (let n = 0; ; n++) {
    let problem, after
    try {
      const response = await fetch(`${addresses[address]}/gateway/v1/${operation}`, {
        method: 'POST', body: encode({endpoint: name, ...body}), redirect: 'manual', signal: AbortSignal.timeout(15_000),
        headers: {authorization: `Bearer ${token()}`, 'content-type': 'application/json', 'tasker-gateway': '1'},
      })
      const text = await response.text()
      if (!response.headers.has('tasker-gateway')) throw new Error(`not the gateway: ${response.status}`)
      const answer = parse(text)
      databaseTime = Date.parse(response.headers.get('tasker-time'))
      if (response.status === 200) return answer
      problem = answer
      after = 1000 * (response.headers.get('retry-after') ?? 0)
    } catch (error) { // it is unknown what became of the request
      problem = {status: 0, detail: `${error.message} ${error.cause?.message ?? ''}`}
      after = 0
      address = (address + 1) % addresses.length
    }
    if (problem.status === 403) stop(problem.detail, 1)
    if ([400, 404, 405, 413, 422].includes(problem.status)) throw new Refused(problem.detail)
    if (n + 1 >= tries) throw new Error(problem.detail)
    log('request failed: repeating it', {operation, status: problem.status, err: problem.detail})
    await sleep(after + jitter(n))
  }
}

// --- The lease. No attempt starts when it may have expired. A monotonic clock may stand still while the machine
// sleeps, and the other one may be set: both must agree.

const clocks = () => [performance.now(), Date.now()]
const lease = {since: [-Infinity, -Infinity], length: 0, beat: 2000}
const held = () => clocks().every((now, i) => now - lease.since[i] < lease.length)
const renew = (since, answer) => Object.assign(lease, {since, length: answer.lease_ms, beat: answer.heartbeat_ms})

async function register() {
  for (let first; ; await sleep(1000)) {
    const since = clocks()
    const answer = await ask('register', {manager, task_types: types, host: hostname(), pid: process.pid, protocol: 2})
    const holder = answer.holder
    if (!holder) return renew(since, answer)
    first ??= holder
    if (holder.manager !== first.manager || holder.last_seen !== first.last_seen) {
      stop(`endpoint ${name} is served by another manager on host ${holder.host}, pid ${holder.pid}`, 1)
    }
  }
}

async function heartbeats() {
  for (;;) {
    await sleep(lease.beat * (0.9 + 0.2 * Math.random()))
    const since = clocks(), silent = !held()
    const answer = await ask('heartbeat', {manager}, {tries: 1}).catch(error => log('heartbeat failed', {err: error.message}))
    if (!answer) continue
    if (!answer.held) stop('the lease is lost', 1)
    renew(since, answer)
    if (silent) adopt().catch(fail) // results may have been declared lost
  }
}

// --- What earlier processes left, and what did not arrive.

async function adopt() {
  await ask('return', {})
  for (let stored = true; stored;) {
    const {work} = await ask('interrupted', {manager, limit: 100})
    if (work.length === 0) break
    const ends = work.map(({task, attempt}) => failed(BigInt(task.id), attempt, pools.find(p => p.type === task.type)?.retry ?? [],
      {errnr: -6, message: `interrupted: the manager of endpoint ${name} ended during attempt ${attempt}`}))
    stored = (await ask('finish', {ends})).done.includes(true)
  }
  for (const pool of pools) feed(pool, 'waiting', 'due')
}

let since // when the tasks of the next scan were sent at the earliest
async function catchUp(underWay) {
  let begin, after
  do {
    const page = await ask('unreceived', {task_types: types, since, after, limit: 100})
    begin ??= databaseTime
    const late = page.tasks.filter(task => Date.parse(task.sent_time ?? task.start_time) < begin - underWay)
    await Promise.all(late.map(({id, type, identifier}) =>
      new Promise(done => record({task_id: BigInt(id), type, identifier, ack: done, refuse: done}))))
    after = page.next && {...page.next, id: BigInt(page.next.id)}
  } while (after)
  since = new Date(begin - 60_000).toISOString()
}

// --- Messages: recorded in batches, then acknowledged, and run.

const inbox = []
let recording = false

async function record(item) {
  inbox.push(item)
  if (recording) return
  recording = true
  while (inbox.length > 0) await receive(inbox.splice(0, 100)).catch(fail)
  recording = false
}

async function receive(items) {
  for (const item of items) { // a slot is taken already while the answer is awaited
    const {running, slots} = item.pool = pools.find(pool => pool.type === item.type)
    item.slot = !running.has(item.task_id) && running.size < slots && !item.pool.waiting // those were first
    if (item.slot) running.add(item.task_id)
  }
  const free = item => item.slot && item.pool.running.delete(item.task_id)
  try {
    const messages = items.map(({task_id, type, identifier, payload_sha256, slot}) =>
      ({task_id, type, identifier, payload_sha256, state: slot ? 'RUNNING' : 'RECEIVED'}))
    const {recordings} = await ask('receive', {manager, messages})
    items.forEach((item, i) => settle(item, recordings[i], () => free(item)))
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    items.forEach(free)
    if (items.length === 1) return items[0].refuse(`could not be recorded: ${error.message}`)
    await receive(items.slice(0, items.length / 2))
    await receive(items.slice(items.length / 2))
  }
}

function settle({pool, slot, ack, refuse}, {outcome, reason, task, state, attempt, own}, free) {
  if (outcome === 'not_owner') stop('the lease is lost', 1)
  if (outcome === 'refused') return free(), refuse(reason)
  ack()
  if (outcome === 'recorded' && slot) return run(pool, task, 1)
  // A duplicate may be this process's without its knowledge, if the answer to its recording was lost.
  if (slot && own && state === 'RUNNING') return begin(pool, task, attempt - 1).catch(fail)
  free()
  if (outcome === 'recorded' || state === 'RECEIVED') feed(pool, 'waiting')
}

// decode returns what is needed of a message. The stored task decides what runs.
function decode(content, type) {
  if (content.length > 16 << 20) throw new Error(`message too large: ${content.length} bytes`)
  const message = parse(new TextDecoder('utf-8', {fatal: true}).decode(content))
  if (message?.v !== 1 && message?.v !== 2) throw new Error(`unknown version ${message?.v}`)
  if (message.type !== type) throw new Error(`wrong task type ${message.type}: received from the queue of ${type}`)
  if (!/^[1-9]\d*$/.test(message.task_id) || typeof message.identifier !== 'string') throw new Error('no task_id or identifier')
  return {task_id: BigInt(message.task_id), type, identifier: message.identifier, payload_sha256: message.payload_sha256}
}

// --- RabbitMQ.

let connection, channel

async function declare() {
  const arguments_ = {'x-queue-type': queueType}
  await channel.assertExchange('tasker.dead', 'fanout', {durable: true})
  await channel.assertQueue('tasker.dead', {durable: true, arguments: arguments_})
  await channel.bindQueue('tasker.dead', 'tasker.dead', '')
  for (const type of types) {
    const exchange = `tasker.${type}`, queue = `tasker.${type}.${name}`
    await channel.assertExchange(exchange, 'direct', {durable: true})
    await channel.assertQueue(queue, {durable: true, deadLetterExchange: 'tasker.dead', expires: queueExpires, arguments: arguments_})
    await channel.bindQueue(queue, exchange, 'all')
    await channel.bindQueue(queue, exchange, `endpoint.${name}`)
  }
}

// subscribe consumes until the subscription ends.
async function subscribe() {
  connection = await amqp.connect(broker)
  const current = channel = await connection.createConfirmChannel()
  let end
  const ended = new Promise(resolve => { end = resolve })
  for (const emitter of [connection, current]) emitter.on('close', end).on('error', end)
  current.on('return', end) // a dead letter without a queue
  const safely = what => { try { what() } catch (error) { end(error) } } // RabbitMQ delivers the message again
  await current.prefetch(32)
  await declare()
  for (const {type} of pools) {
    const queue = `tasker.${type}.${name}`
    await current.consume(queue, message => {
      if (message === null) return end(new Error('the queue was deleted'))
      const ack = () => safely(() => current.ack(message))
      const refuse = reason => {
        log('dead-lettering a message', {queue, reason})
        const {messageId, contentType} = message.properties
        const headers = {'x-tasker-reason': reason.slice(0, 1000), 'x-tasker-queue': queue}
        const options = {persistent: true, mandatory: true, messageId, contentType, headers, timestamp: Math.floor(Date.now() / 1000)}
        let returned = false
        current.once('return', () => { returned = true }) // comes before the confirm
        safely(() => current.publish('tasker.dead', '', message.content, options, error => error || returned || ack()))
      }
      let item
      try { item = decode(message.content, type) } catch (error) { return refuse(error.message) }
      record({...item, ack, refuse})
    })
  }
  log('subscribed')
  await catchUp(-60_000) // all that is not received
  return ended
}

async function consume() {
  for (let n = 0; !stopping; n++) {
    const begin = Date.now()
    const error = await subscribe().catch(error => error)
    channel = undefined
    await connection?.close().catch(() => {})
    if (stopping) return
    log('subscription ended: subscribing again', {err: error?.message})
    if (Date.now() - begin > 60_000) n = 0
    await sleep(jitter(n))
  }
}

// --- Attempts.

// feed starts what waits for slots of a pool, or is due again.
async function feed(pool, ...kinds) {
  for (const kind of kinds) pool[kind] = true
  if (pool.feeding) return void (pool.again = true)
  pool.feeding = true
  do {
    pool.again = false
    for (const kind of ['due', 'waiting']) await fill(pool, kind).catch(fail)
  } while (pool.again)
  pool.feeding = false
}

async function fill(pool, kind) {
  const room = () => !stopping && pool.running.size < pool.slots
  while (pool[kind] && room()) {
    pool[kind] = false
    const {work} = await ask(kind, {task_type: pool.type, limit: 100})
    for (const {task, attempt} of work) {
      if (!room()) break
      if (pool.running.has(BigInt(task.id))) continue
      pool.running.add(BigInt(task.id))
      await begin(pool, task, attempt)
    }
    pool[kind] ||= work.length === 100 || !room()
    if (kind === 'waiting') continue
    const {time} = await ask('next-retry', {task_type: pool.type})
    clearTimeout(pool.timer)
    const pause = Math.min(Math.max(Date.parse(time) - databaseTime, 100), 3600_000)
    if (time) pool.timer = setTimeout(() => feed(pool, 'due'), pause)
  }
}

// begin counts the next attempt and runs it, if it is this process's. Its slot is taken.
async function begin(pool, task, attempt) {
  const {done} = await ask('start', {manager, starts: [{task_id: BigInt(task.id), attempt}]})
  if (done[0]) run(pool, task, attempt + 1)
  else pool.running.delete(BigInt(task.id))
}

// run runs an attempt that is counted, and stores its end.
async function run(pool, task, attempt) {
  const task_id = BigInt(task.id), report = reporter(task_id, attempt), abort = new AbortController()
  const timedOut = {state: 'TIMED_OUT', errnr: -1, message: `the run limit of ${pool.timeout} ms passed`}
  const timer = setTimeout(() => abort.abort(timedOut), pool.timeout)
  const aborted = new Promise((_, reject) => abort.signal.addEventListener('abort', () => reject(abort.signal.reason)))
  aborted.catch(() => {}) // it may end without anybody who waits
  let end
  try {
    const payload = task.payload ?? (await ask('payload', {task_id})).payload
    const digest = createHash('sha256').update(payload).digest('hex')
    if (task.payload_sha256 && task.payload_sha256 !== digest) {
      throw {state: 'REJECTED', errnr: -5, message: 'the payload was changed after the task was accepted'}
    }
    while (!held()) await sleep(100)
    const context = {endpoint: name, taskId: task_id, identifier: task.identifier, attempt, signal: abort.signal, log: report.log, progress: report.progress}
    const result = await Promise.race([pool.run(payload, context), aborted]) ?? 'null'
    JSON.parse(result)
    end = {task_id, attempt, state: 'DONE', payload: result}
  } catch (error) {
    end = failed(task_id, attempt, pool.retry, error)
  }
  clearTimeout(timer)
  const file = keep(end)
  await report.close().then(() => finish(file, end)).catch(fail)
  log('attempt ended', {...end, payload: undefined})
  pool.running.delete(task_id)
  feed(pool, ...(end.state === 'RETRYING' ? ['due'] : []))
}

// failed returns the end of a failed attempt, which may be followed by another one.
function failed(task_id, attempt, retry, {state, errnr = 1, message, permanent}) {
  const end = {task_id, attempt, state: state ?? 'FAILED', errnr, errmsg: String(message).slice(0, 4000)}
  const delay = retry[attempt - 1]
  return state || permanent || delay === undefined ? end : {...end, state: 'RETRYING', retry_delay_ms: delay}
}

// keep writes an end to the disk, where the next process finds it.
function keep(end) {
  const file = path.join(spool, `${end.task_id}-${end.attempt}.json`)
  const fd = fs.openSync(`${file}.new`, 'w')
  fs.writeSync(fd, encode(end))
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  fs.renameSync(`${file}.new`, file)
  return file
}

async function finish(file, end) {
  const {task_id, attempt} = end
  await ask('finish', {ends: [end]}).catch(error => {
    if (!(error instanceof Refused)) throw error
    const errmsg = `the result could not be stored: ${error.message}`
    return ask('finish', {ends: [{task_id, attempt, state: 'FAILED', errnr: -7, errmsg}]})
  })
  fs.unlinkSync(file)
}

async function finishKept() {
  fs.mkdirSync(spool, {recursive: true})
  for (const file of fs.readdirSync(spool).filter(file => file.endsWith('.json'))) {
    const end = parse(fs.readFileSync(path.join(spool, file), 'utf8'))
    await finish(path.join(spool, file), {...end, task_id: BigInt(end.task_id)})
  }
}

// reporter stores the log and the progress of an attempt, at most once a second.
function reporter(task_id, attempt) {
  const totals = {lines: 0, bytes: 0, left_out: 0, complete: false}
  let lines = [], progress, timer, sent
  const time = () => new Date(databaseTime).toISOString()
  const send = async () => {
    await sent // the previous one
    const update = {task_id, attempt, progress, lines, totals: {...totals}}
    lines = []
    await ask('live', {updates: [update]}).catch(error => log('report not stored', {task_id, err: error.message}))
  }
  const later = () => {
    timer ??= setTimeout(() => { timer = undefined; sent = send() }, 1000)
  }
  return {
    log(text) {
      for (const line of String(text).split('\n')) {
        lines.push({n: totals.lines++, time: time(), stream: 'log', level: 'info', text: line})
        totals.bytes += Buffer.byteLength(line)
      }
      later()
    },
    progress(done, total, message = '') {
      progress = {done, total, message, time: time()}
      later()
    },
    async close() {
      clearTimeout(timer)
      totals.complete = true
      if (timer || sent) await send()
    },
  }
}

// --- Start and stop.

let stopping = false

function stop(reason, code) {
  log('stopping', {reason})
  process.exit(code) // what runs counts as interrupted
}

const fail = error => stop(error.stack ?? String(error), 1)

async function leave() {
  if (stopping) return
  stopping = true
  await connection?.close().catch(() => {})
  while (pools.some(pool => pool.running.size > 0)) await sleep(50)
  await ask('release', {manager}, {tries: 3}).catch(() => {})
  process.exit(0)
}

process.on('SIGTERM', leave).on('SIGINT', leave)
await register()
heartbeats().catch(fail)
await finishKept()
await adopt()
consume().catch(fail)
for (;;) {
  await sleep(60_000 * (0.9 + 0.2 * Math.random()))
  await adopt()
  if (channel) await declare().catch(() => {}) // somebody may have deleted a binding
  if (channel) await catchUp(5_000)
}
