package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// exchange is a request and its answer as seen from outside the router: it is
// the writer that everything inside gets, and remembers what was answered.
type exchange struct {
	http.ResponseWriter
	id        string
	operation string // of the route; "" when there was none
	status    int    // 0 until something was written
}

// WriteHeader remembers the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write sends the header first, as [http.ResponseWriter] has it.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap serves [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// plain is the server's own writer, which [http.MaxBytesReader] tells to close
// the connection.
func plain(w http.ResponseWriter) http.ResponseWriter {
	if x, ok := w.(*exchange); ok {
		return x.ResponseWriter
	}
	return w
}

func requestID(w http.ResponseWriter) string {
	if x, ok := w.(*exchange); ok {
		return x.id
	}
	return ""
}

// outside is around the router, and so around its 404 and 405 too: the id of
// the request, the headers of every answer, the metrics, and the recovery from
// a panic.
func (d *door) outside(router http.Handler) http.Handler {
	// Made once: every answer has them. Their capacity is used up, so that who
	// adds a value does not write into those of others.
	fixed := []string{"no-store", "nosniff", "default-src 'none'; frame-ancestors 'none'", "no-referrer"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, id: chooseID(r.Header.Get("X-Request-Id"))}
		started := d.Now()
		defer func() {
			if p := recover(); p != nil {
				d.recovered(x, r, p)
			}
			d.metrics.served(x, d.Now().Sub(started))
		}()
		h := w.Header()
		h["X-Request-Id"] = []string{x.id}
		h["Cache-Control"] = fixed[0:1:1]
		h["X-Content-Type-Options"] = fixed[1:2:2]
		h["Content-Security-Policy"] = fixed[2:3:3]
		h["Referrer-Policy"] = fixed[3:4:4]
		router.ServeHTTP(x, r)
	})
}

// recovered answers a request whose handler panicked. The others go on.
func (d *door) recovered(x *exchange, r *http.Request, p any) {
	d.Log.ErrorContext(r.Context(), "panic", "request_id", x.id, "operation", x.operation, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if x.status == 0 {
		d.refuse(x, fmt.Errorf("panic in %s", x.operation))
	}
}

// chooseID takes the id that a proxy in front gave, if it is one that can be
// put in a log and a header as it is; else it makes one.
func chooseID(given string) string {
	const most = 64
	if given == "" || len(given) > most {
		return rand.Text()
	}
	for i := range len(given) {
		switch c := given[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return rand.Text()
		}
	}
	return given
}

// record writes the audit line of a call, if it needs one: everything denied,
// every change, every value given away. What is neither is a line at level
// debug. Values are never in it.
func (d *door) record(ctx context.Context, r route, c *call, status int, err error) {
	verdict, level := "allowed", slog.LevelDebug
	if err != nil {
		status = d.statusOf(err)
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		verdict, level = "denied", slog.LevelInfo
	case status == http.StatusTooManyRequests:
		verdict, level = "limited", slog.LevelInfo
	case err != nil && (r.audit == auditCalls || r.audit == auditByCA):
		verdict, level = "failed", slog.LevelInfo
	case r.audit == auditCalls, r.audit == auditSealed && c.path.Kind.Sealed():
		level = slog.LevelInfo
	}
	if !d.Log.Enabled(ctx, level) {
		return
	}
	address := c.who.Address
	if address == "" {
		address = d.from(c.request).Shown
	}
	attrs := append([]slog.Attr{
		slog.String("action", r.id), slog.String("path", c.path.String()), slog.Int("status", status),
		slog.String("by", c.who.By()), slog.String("auth", string(c.who.Method)), slog.String("address", address),
		slog.String("request_id", c.id),
	}, c.facts...)
	if err != nil {
		attrs = append(attrs, slog.String("reason", err.Error()))
	}
	d.Log.LogAttrs(ctx, level, verdict, attrs...)
}
