package tasker

// MaxDepth is the maximum nesting of arrays and objects in a payload. The API
// refuses tasks with deeper ones; deeper results are kept as text.
const MaxDepth = 100
