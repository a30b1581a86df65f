package clustercockpit

import "errors"

// The errors of this package, to be told apart with [errors.Is].
var (
	// ErrInvalid is a key, a role or a claim that cannot be used.
	ErrInvalid = errors.New("invalid")
	// ErrRefused is a token that proves nothing: its text, its signature or its time is wrong.
	ErrRefused = errors.New("token refused")
)
