# Redraw with `gnuplot mined_sparsity.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_sparsity.tsv'
rows_max = 2
seen(x, y) = y < 0.9995 ? (rows_max = x > rows_max ? x : rows_max, 0) : 0
stats data using (note('enough_cdf') + (is('enough_cdf') ? seen(column('x'), column('mean')) : 0)) nooutput
stats data using (is('enough_mean') && column('layer') >= 0 ? column('head') : NaN) name 'HEAD' nooutput
stats data using (is('enough_mean') && column('layer') >= 0 ? column('layer') : NaN) name 'LAYER' nooutput
side = 0.8 / (HEAD_max + 1)
by = LAYER_max > 14 ? 4 : 1
do for [t in 'svg png'] {
    eval open(t, 'mined_sparsity')
    eval panel(2, 1)
    set logscale x 2
    set xrange [1 : 2 * rows_max]
    set yrange [0 : 1.02]
    set xtics nomirror 4
    set xlabel 'keys that hold 0.99 of a query''s attention'
    set ylabel 'share of queries for which so many are enough'
    plot for [i = 1:4] data using (head_x('enough_cdf', i)):'mean' with lines lw 1 lc rgb head_pale(i), \
        data using (mean_x('enough_cdf')):'mean':'lo':'hi' with yerrorlines lw 1.8 pt 7 ps 0.5 lc rgb style_mean
    unset label 99
    eval panel(2, 2)
    unset logscale
    set logscale y 2
    set xlabel 'layer; heads side by side'
    set ylabel 'keys that hold 0.99, mean'
    set xrange [-0.6 : LAYER_max + 0.6]
    set yrange [0.9 : *]
    set xtics nomirror by
    set ytics nomirror auto
    plot for [i = 1:4] data using (of('enough_mean', i) && column('mean') > 0 ? column('layer') - 0.4 + side * (column('head') + 0.5) : NaN):'mean':'lo':'hi' \
            with yerrorbars lw 1.4 pt 7 ps 0.5 lc rgb head_colour(i)
    eval legend(heads_legend.', '.mean_legend)
    eval close
}
