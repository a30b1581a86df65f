// Package background keeps work going that no request waits for. A panic in such work
// is logged with its stack and counted by task, and the work begins again after a
// pause. Without that, a panic in one goroutine ends the process and its listeners.
//
// The package holds no lock for the work. Work that can panic gives its locks back by
// defer, which the tests of internal/house check. Work that must not begin again on a
// half-done state returns an error instead: [Panics.Keep] ends with it.
package background
