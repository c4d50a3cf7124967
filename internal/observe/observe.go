// Package observe makes the server's work visible: one structured log line for
// each request, one audit line for each change of state, and metrics that are
// bound before the first request. It decides nothing, and nothing it does can
// make a request fail. Secrets never reach it: callers give ids, not contents.
package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// NewLogger returns a logger that writes "text" or "json" lines to w, from
// level on. The level can be changed while the logger is in use.
func NewLogger(w io.Writer, format string, level slog.Leveler) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(format) {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("couldn't set up the log: %q is no format; use \"text\" or \"json\"", format)
	}
}

// Auditor writes the audit trail: who changed what, on whose behalf, with
// which outcome and by which rule.
type Auditor struct {
	log *slog.Logger
}

// NewAuditor returns an Auditor that writes to log, whose level must let
// LevelInfo pass for the trail to be complete.
func NewAuditor(log *slog.Logger) *Auditor {
	return &Auditor{log: log}
}

// Audit writes one line about a change of state. The action reads
// "certificate.revoke"; the attributes say the rest, by the keys "who",
// "on_behalf_of", "outcome" and "rule" where they apply.
func (a *Auditor) Audit(ctx context.Context, action string, attrs ...slog.Attr) {
	write(ctx, a.log, slog.LevelInfo, "audit", slog.String("action", action), attrs)
}

// write is slog.Logger.LogAttrs without finding out who called it, which no line
// says and which takes a fifth of the time.
func write(ctx context.Context, log *slog.Logger, level slog.Level, message string, first slog.Attr, more []slog.Attr) {
	if !log.Enabled(ctx, level) {
		return
	}
	record := slog.NewRecord(time.Now(), level, message, 0)
	record.AddAttrs(first)
	record.AddAttrs(more...)
	_ = log.Handler().Handle(ctx, record) // slog, too, has nobody to tell
}
