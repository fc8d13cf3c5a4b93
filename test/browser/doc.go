// Package browser tests the dashboard in Chromium: that no page breaks its own policy,
// that none violates a rule of axe-core, and that pages are kept up to date. It is a
// module of its own because of its dependencies; "make test-browser" gets what it needs.
//
// With TASKER_SCREENSHOTS it stores what it saw in that directory.
package browser
