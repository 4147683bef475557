"""HTTP itself, for all routes: methods, hosts, proxies, CORS, problems, conditional answers, limits per client."""
