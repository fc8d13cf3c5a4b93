// What every checked endpoint does with a task: it adds a line to the file in the payload, waits, and returns the payload.
import fs from 'node:fs'
import {setTimeout as sleep} from 'node:timers/promises'

export default {
  check: {
    async run(payload, {signal}) {
      const {file, ms} = JSON.parse(payload)
      fs.appendFileSync(file, 'run\n')
      await sleep(ms, undefined, {signal})
      return payload
    },
  },
}
