package login

import (
	"context"
	"errors"

	"omca/internal/openid"
)

// Code is what a person types at another device.
type Code struct {
	UserCode string
	Address  string // where to type it
	Complete string // an address with the code in it; "" when there is none
}

// Device logs in through another device that has a browser (RFC 8628): show is given the code, and the tokens come when the person has
// said yes there, or an error when they said no, the code expired, or ctx ended before that.
func (f *Flow) Device(ctx context.Context, show func(Code)) (Tokens, error) {
	if !f.HasDevice() {
		return Tokens{}, f.failed("login", errors.New("it has no login by device"))
	}
	ctx = f.client(ctx)
	code, err := f.oauth.DeviceAuth(ctx)
	if err != nil {
		return Tokens{}, f.failed("login by device", err)
	}
	if code.DeviceCode == "" || code.UserCode == "" || openid.CheckAddress(code.VerificationURI) != nil {
		return Tokens{}, f.failed("login by device", errors.New("its answer has no code, or no address to type it at"))
	}
	show(Code{
		UserCode: openid.Printable(code.UserCode), Address: openid.Printable(code.VerificationURI),
		Complete: openid.Printable(code.VerificationURIComplete),
	})
	t, err := f.oauth.DeviceAccessToken(ctx, code)
	if err != nil {
		return Tokens{}, f.failed("login by device", err)
	}
	return f.accept(ctx, t, "")
}
