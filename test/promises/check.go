package promises

import (
	"fmt"
)

// rule finds one kind of violation.
type rule struct {
	name    string
	promise int
	check   func(w *world, report reportFunc)
}

// reportFunc is called with the detail of a violation.
type reportFunc func(format string, args ...any)

// Check returns the violations of the five promises in a history, ordered by
// rule. An empty history has none: the caller must check that enough was
// recorded.
func Check(h History) []Violation {
	w := newWorld(h)
	var found []Violation
	for _, r := range rules() {
		r.check(w, func(format string, args ...any) {
			found = append(found, Violation{Promise: r.promise, Rule: r.name, Detail: fmt.Sprintf(format, args...)})
		})
	}
	return found
}

// rules returns all rules, by promise.
func rules() []rule {
	return []rule{
		{"accepted-task-lost", 1, acceptedTaskLost},
		{"row-missing", 1, rowMissing},
		{"row-without-run", 1, rowWithoutRun},
		{"started-early", 1, startedEarly},
		{"slot-lost", 1, slotLost},
		{"overtaken", 1, overtaken},

		{"unknown-task", 2, unknownTask},
		{"second-task", 2, secondTask},
		{"not-addressed", 2, notAddressed},
		{"second-start", 2, secondStart},
		{"end-without-start", 2, endWithoutStart},
		{"attempt-not-allowed", 2, attemptNotAllowed},
		{"attempt-gap", 2, attemptGap},
		{"attempt-not-counted", 2, attemptNotCounted},
		{"attempts-out-of-order", 2, attemptsOutOfOrder},
		{"overlapping-runs", 2, overlappingRuns},
		{"run-after-final", 2, runAfterFinal},
		{"run-after-cancel", 2, runAfterCancel},
		{"run-while-held", 2, runWhileHeld},
		{"interrupted-without-fault", 2, interruptedWithoutFault},
		{"gave-up-early", 2, gaveUpEarly},
		{"ran-expired", 2, ranExpired},
		{"ran-before-its-wave", 2, ranBeforeItsWave},
		{"ran-superseded", 2, ranSuperseded},
		{"more-than-its-places", 2, moreThanItsPlaces},
		{"slot-twice", 2, slotTwice},

		{"lost-done", 3, lostDone},
		{"lost-failure", 3, lostFailure},
		{"lost-timeout", 3, lostTimeout},

		{"unknown-word", 4, unknownWord},
		{"status-not-of-rows", 4, statusNotOfRows},
		{"final-task-unfinished", 4, finalTaskUnfinished},
		{"summary-not-of-rows", 4, summaryNotOfRows},
		{"status-not-of-state", 4, statusNotOfState},
		{"errnr-not-of-state", 4, errnrNotOfState},
		{"errmsg-not-of-errnr", 4, errmsgNotOfErrnr},
		{"attempt-not-of-state", 4, attemptNotOfState},
		{"outcome-not-of-type", 4, outcomeNotOfType},
		{"result-of-no-run", 4, resultOfNoRun},
		{"illegal-task-move", 4, illegalTaskMove},
		{"illegal-row-move", 4, illegalRowMove},
		{"attempt-decreased", 4, attemptDecreased},
		{"final-row-changed", 4, finalRowChanged},
		{"row-vanished", 4, rowVanished},
		{"cancel-contradicted", 4, cancelContradicted},
		{"canceled-by-nobody", 4, canceledByNobody},
		{"superseded-by-nobody", 4, supersededByNobody},
		{"round-without-retry", 4, roundWithoutRetry},
		{"retry-without-effect", 4, retryWithoutEffect},

		{"endpoint-twice", 5, endpointTwice},
		{"endpoint-nowhere", 5, endpointNowhere},
		{"endpoint-unexpected", 5, endpointUnexpected},
		{"endpoints-changed", 5, endpointsChanged},
		{"unfinished-at-rest", 5, unfinishedAtRest},
	}
}
