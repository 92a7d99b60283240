// Package tracing shows how a program has the calls and streams of its Go client traced by
// OpenTelemetry. It is a module of its own, so that OpenTelemetry is no dependency of who does
// without; its test is the example, and runs.
package tracing
