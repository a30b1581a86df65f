package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns etcd's logger, which writes to log what is a warning or worse, and
// tells why etcd ends. Where etcd would panic, or end the process, its goroutine ends, and
// broke says why: the process is more than a member, and ends in order.
func zapTo(log *slog.Logger, ended, broke func(error)) *zap.Logger {
	instead := breaking{broke}
	return zap.New(&core{log: log, ended: ended}, zap.WithPanicHook(instead), zap.WithFatalHook(instead))
}

// breaking is a zapcore.CheckWriteHook for what etcd cannot go on from.
type breaking struct{ broke func(error) }

// OnWrite does not return: etcd relies on that.
func (b breaking) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	why := errors.New(e.Message)
	if err := errorIn(fields); err != nil {
		why = fmt.Errorf("%w: %w", why, err)
	}
	b.broke(why)
	runtime.Goexit()
}

// errorIn returns the error among the fields of an event; nil when there is none.
func errorIn(fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok {
			return err
		}
	}
	return nil
}

// core is a zapcore.Core.
type core struct {
	log   *slog.Logger
	ended func(error)
}

// serverError is the event in which etcd says why it ends. It says so nowhere else.
const serverError = "server error"

func (c *core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }
func (c *core) Sync() error                  { return nil }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: slog.New(c.log.Handler().WithAttrs(attributes(fields))), ended: c.ended}
}

func (c *core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// besides reports an event that is about what etcd is not asked to do here, since it
// has no port and no users, or that every member that joins has at first.
func besides(event string) bool {
	return strings.HasPrefix(event, "Running http and grpc server on single port") || event == "simple token is not cryptographically signed" ||
		event == "Failed to detect schema version" || event == "failed to update storage version" ||
		event == "Validation on configuration change failed" // whoever wanted the change is told
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if besides(e.Message) {
		return nil
	}
	if err := errorIn(fields); err != nil && e.Message == serverError {
		c.ended(err)
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.log.LogAttrs(context.Background(), level, "etcd", append(attributes(fields), slog.String("event", e.Message))...)
	return nil
}

func attributes(fields []zapcore.Field) []slog.Attr {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	list := make([]slog.Attr, 0, len(m.Fields))
	for k, v := range m.Fields {
		list = append(list, slog.Any(k, v))
	}
	return list
}
