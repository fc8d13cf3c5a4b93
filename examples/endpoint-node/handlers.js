// The handlers of the endpoint, by task type: see README.md.
import {statfs} from 'node:fs/promises'

export default {
  greet: {
    async run(payload, {endpoint, log}) {
      const {name} = JSON.parse(payload)
      if (!name) throw Object.assign(new Error('nobody to greet: send {"name": "..."}'), {errnr: 2, permanent: true})
      log(`greeting ${name}`)
      return JSON.stringify({text: `good morning ${name}, says ${endpoint}`})
    },
  },
  disk: {
    retry: [1000, 10_000],
    async run(payload) {
      const {path} = JSON.parse(payload)
      const {bavail, bsize} = await statfs(path)
      return JSON.stringify({path, free: bavail * bsize})
    },
  },
}
