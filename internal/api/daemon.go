package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"omca/ca"
	"omca/internal/wire"
)

// errNotReady means that the service cannot do its work at the moment.
var errNotReady = errors.New("not ready")

func (d *door) whoami(_ context.Context, c *call) (response, error) {
	return reply(http.StatusOK, wire.Whoami{
		Auth: string(c.who.Method), Grant: c.who.Grants.Map(), Name: c.who.Name, Namespace: "system", RawGrant: c.who.Grants.String(),
	})
}

func (d *door) healthz(context.Context, *call) (response, error) {
	return reply(http.StatusOK, wire.Health{Status: "ok"})
}

func (d *door) readyz(ctx context.Context, _ *call) (response, error) {
	if err := d.Ready(ctx); err != nil {
		return response{}, fmt.Errorf("%w: %w", errNotReady, err)
	}
	return reply(http.StatusOK, wire.Health{Status: "ok"})
}

func (d *door) status(ctx context.Context, c *call) (response, error) {
	s, err := d.Status(ctx)
	if err != nil {
		return response{}, err
	}
	if s.OpenID != nil {
		told := *s.OpenID
		told.LastError = toldOf(c.who, told.LastError)
		s.OpenID = &told
	}
	s.Addresses = append([]string{}, s.Addresses...)
	return reply(http.StatusOK, s)
}

func (d *door) stop(context.Context, *call) (response, error) {
	if d.Stop == nil {
		return response{}, fmt.Errorf("%w: no daemon is running here", ca.ErrConflict)
	}
	d.Stop()
	return response{status: http.StatusAccepted}, nil
}

func (d *door) restart(context.Context, *call) (response, error) {
	if d.Restart == nil {
		return response{}, fmt.Errorf("%w: no daemon is running here", ca.ErrConflict)
	}
	if err := d.Restart(); err != nil {
		return response{}, fmt.Errorf("%w: %w", ca.ErrConflict, err)
	}
	return response{status: http.StatusAccepted}, nil
}

func (d *door) acceptRollback(ctx context.Context, c *call) (response, error) {
	if d.AcceptSetBack == nil {
		return response{}, fmt.Errorf("%w: there is no store here that could be set back", ca.ErrConflict)
	}
	reasons, err := d.AcceptSetBack(ctx)
	if err != nil {
		return response{}, err
	}
	c.note(slog.Any("accepted", reasons))
	return reply(http.StatusOK, wire.AcceptedRollback{Reasons: append([]string{}, reasons...)})
}

func (d *door) serveMetrics(context.Context, *call) (response, error) {
	return response{stream: d.metrics.page}, nil
}

func (d *door) serveOpenAPI(context.Context, *call) (response, error) {
	text, err := d.openapi()
	if err != nil {
		return response{}, fmt.Errorf("OpenAPI document: %w", err)
	}
	return response{status: http.StatusOK, media: mediaJSON, body: text}, nil
}

func (d *door) serveDocs(context.Context, *call) (response, error) {
	page, err := d.docs()
	if err != nil {
		return response{}, fmt.Errorf("documentation: %w", err)
	}
	return response{
		status: http.StatusOK, media: mediaHTML, body: page,
		header: http.Header{"Content-Security-Policy": {docsPolicy()}},
	}, nil
}
