package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"

	"omca/ca"
)

// getProfile gives a profile of the process, compressed, as pprof keeps it.
// Memory holds keys, and a profile shows where: that is for root.
func (d *door) getProfile(ctx context.Context, c *call) (response, error) {
	var b bytes.Buffer
	name := c.vars["profile"]
	if name == "cpu" {
		if err := watchCPU(ctx, c, &b); err != nil {
			return response{}, err
		}
		return response{status: http.StatusOK, media: mediaAny, body: b.Bytes()}, nil
	}
	p := pprof.Lookup(name)
	if p == nil {
		return response{}, fmt.Errorf("%w: profile %.32q: want cpu, heap, allocs, goroutine, mutex or block", ca.ErrNotFound, name)
	}
	if err := p.WriteTo(&b, 0); err != nil {
		return response{}, fmt.Errorf("profile %s: %w", name, err)
	}
	return response{status: http.StatusOK, media: mediaAny, body: b.Bytes()}, nil
}

// watchCPU profiles the processor for the seconds that the call asks for.
func watchCPU(ctx context.Context, c *call, b *bytes.Buffer) error {
	seconds := 10
	if text := c.query.Get("seconds"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil || seconds < 1 || seconds > 60 {
			return fmt.Errorf("%w: seconds is %.32q, not 1 to 60", errBadRequest, text)
		}
	}
	if err := pprof.StartCPUProfile(b); err != nil {
		return fmt.Errorf("%w: %w", ca.ErrConflict, err) // somebody else watches
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(time.Duration(seconds) * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
