package auth

// Remembered returns how many answers of the application, and clients of it, are remembered.
func (a *Authenticator) Remembered() int {
	a.callback.mu.Lock()
	defer a.callback.mu.Unlock()
	return max(len(a.callback.answers), len(a.callback.clients))
}
