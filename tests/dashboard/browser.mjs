// The browser that the tests drive, if there is one.

import { existsSync } from 'node:fs';

const BROWSER = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  .find((path) => path && existsSync(path));
const { default: puppeteer } = await import('puppeteer-core').catch(() => ({}));

// Why nothing can be driven.
export const skip = !BROWSER ? 'no chromium here; CHROMIUM names one' : !puppeteer ? 'puppeteer-core is not installed; run npm ci' : false;

export const launch = () => puppeteer.launch({ executablePath: BROWSER, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
