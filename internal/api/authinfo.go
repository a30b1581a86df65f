package api

import (
	"context"
	"net/http"

	"omca/internal/wire"
)

func (d *door) authInfo(context.Context, *call) (response, error) {
	return reply(http.StatusOK, d.AuthInfo())
}

// certificatesAlone is how callers can prove who they are where nothing else is said.
func certificatesAlone() wire.AuthInfo { return wire.AuthInfo{Methods: []string{"x509"}} }
