// The handler of TestNodeEndpoint. It writes a line to RUNS, and syncs it, before it does anything.
import fs from 'node:fs'
import {setTimeout as sleep} from 'node:timers/promises'

function note(what, {taskId, attempt}) {
  const fd = fs.openSync(process.env.RUNS, 'a')
  fs.writeSync(fd, `${what} ${taskId} ${attempt}\n`)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}

export default {
  job: {
    slots: 3,
    retry: [100, 100],
    async run(payload, run) {
      note('run', run)
      const wish = JSON.parse(payload)
      switch (wish.do) {
        case 'echo':
          return payload
        case 'fail':
          throw Object.assign(new Error(wish.message), {errnr: wish.errnr, permanent: true})
        case 'flaky':
          if (run.attempt < wish.until) throw new Error(`not yet: attempt ${run.attempt}`)
          return JSON.stringify({attempts: run.attempt})
        case 'sleep': // only the first attempt
          run.log('going to sleep')
          run.progress(1, 4, 'sleeping')
          if (run.attempt === 1) await sleep(wish.ms, undefined, {signal: run.signal})
          return JSON.stringify({slept: true})
      }
    },
  },
}
