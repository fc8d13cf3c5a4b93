package wire

// The two readers of a task's message, for tests that compare them.
var (
	ScanTask  = scanTask
	ParseTask = parseTask
)
