package tasker

// MaxDepth is how deep the arrays and objects of a payload are nested at most.
// Of tasks the API refuses what is deeper; of results it is kept as text.
const MaxDepth = 100
