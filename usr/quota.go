package usr

import (
	"errors"
	"time"
)

// ErrQuota is a request for more than a caller without root may have. The errors are [*QuotaError].
var ErrQuota = errors.New("quota")

// QuotaError is an [ErrQuota] that says how much there may be, and when there is room again.
type QuotaError struct {
	Detail  string        // for the caller: how much there is, and the bound
	Keyword string        // of the cluster, that says the bound
	After   time.Duration // from now until there is room; 0 when waiting alone makes none
}

// Error is the detail.
func (e *QuotaError) Error() string { return ErrQuota.Error() + ": " + e.Detail }

// Is tells that e is an [ErrQuota].
func (e *QuotaError) Is(target error) bool { return target == ErrQuota }
