// One handler waits for a child process, and the event loop with it.
const server = require('http').createServer((request, response) => {
  require('fs').writeSync(1, 'hung\n');
  require('child_process').execSync('exec sleep 120');
  response.end();
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
