package observe

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The alerts for Prometheus are on metrics that there are, and
// docs/operations.md says of each what to do.
func TestAlerts(t *testing.T) {
	t.Parallel()
	rules := read(t, "../../contrib/prometheus/rules.yaml")
	metrics, runbook := read(t, "../../docs/metrics.md"), read(t, "../../docs/operations.md")
	names := regexp.MustCompile(`\btasker_[a-z_]+`).FindAllString(rules, -1)
	if len(names) < 10 {
		t.Errorf("%d metrics in the rules", len(names))
	}
	for _, name := range names {
		if !strings.Contains(metrics, "| `"+strings.TrimSuffix(name, "_count")+"` |") {
			t.Errorf("no metric %s", name)
		}
	}
	var alerts, documented, linked []string
	for _, found := range regexp.MustCompile(`(?m)- alert: (\w+)$`).FindAllStringSubmatch(rules, -1) {
		alerts = append(alerts, found[1])
	}
	for _, found := range regexp.MustCompile(`(?m)^### (Tasker\w+)$`).FindAllStringSubmatch(runbook, -1) {
		documented = append(documented, found[1])
	}
	for _, found := range regexp.MustCompile(`runbook: docs/operations.md#(\w+)`).FindAllStringSubmatch(rules, -1) {
		linked = append(linked, found[1])
	}
	if len(alerts) == 0 || !slices.Equal(alerts, documented) {
		t.Errorf("alerts %q, documented %q", alerts, documented)
	}
	for i, alert := range alerts {
		if i >= len(linked) || linked[i] != strings.ToLower(alert) {
			t.Fatalf("alert %s: runbook of %q", alert, linked)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The board for Grafana shows metrics that there are.
func TestBoard(t *testing.T) {
	t.Parallel()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "../../contrib/grafana/tasker.json")), &board); err != nil {
		t.Fatal(err)
	}
	metrics, shown := read(t, "../../docs/metrics.md"), 0
	part := regexp.MustCompile(`_(bucket|count|sum)$`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			for _, name := range regexp.MustCompile(`\btasker_[a-z_]+`).FindAllString(target.Expr, -1) {
				if shown++; !strings.Contains(metrics, "| `"+part.ReplaceAllString(name, "")+"` |") {
					t.Errorf("%s: no metric %s", panel.Title, name)
				}
			}
		}
	}
	if shown < 20 {
		t.Errorf("%d metrics are shown", shown)
	}
}
