package config

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/taskerhq/tasker"
	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/internal/retrypolicy"
)

// retries reads a retry policy in any form of package retrypolicy.
func retries(at *tasker.RetryPolicy) codec {
	return codec{
		set: func(value any) error {
			policy, err := retrypolicy.Read(jsonValue(value))
			if err != nil {
				return retryError(err)
			}
			*at = policy
			return nil
		},
		get: func() any { return shownRetries(*at) },
	}
}

// jsonValue returns a value with its numbers as JSON has them.
func jsonValue(value any) any {
	switch v := value.(type) {
	case literal:
		return json.Number(v)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = jsonValue(item)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, member := range v {
			members[name] = jsonValue(member)
		}
		return members
	}
	return value
}

// retryError returns an error for each broken rule of a policy, in the words of
// this package, which puts the key before them.
func retryError(err error) error {
	var errs []error
	for _, mistake := range handlers.Mistakes(err) {
		text := mistake.Error()
		if e, ok := errors.AsType[*tasker.Error](mistake); ok {
			text = e.Message
		}
		errs = append(errs, errors.New(strings.TrimPrefix(text, "invalid ")))
	}
	return errors.Join(errs...)
}

// maxShownPauses is the number of pauses up to which a policy without jitter is
// shown as a list, which says more than its rule.
const maxShownPauses = 8

// shownRetries returns a policy as a file has it: a list of pauses, or the rule that
// many of them follow.
func shownRetries(policy tasker.RetryPolicy) any {
	if rule, ok := retrypolicy.RuleOf(policy); ok && (policy.Jitter || len(policy.Delays) > maxShownPauses) {
		members := map[string]any{"attempts": rule.Attempts, "policy": rule.Policy, "interval": short(rule.Interval)}
		if rule.MaxInterval > 0 {
			members["max_interval"] = short(rule.MaxInterval)
		}
		return members
	}
	pauses := make([]string, len(policy.Delays))
	for i, delay := range policy.Delays {
		pauses[i] = short(delay)
	}
	return pauses
}
